/*
 * A configuration as text: what is in effect and where it comes from, and the sample with all keys, which the manual shows.
 */
#pragma once

#include <stdio.h>

struct config;
struct ruling;

/* As a file that says the same, each value with its origin; then what git's lists add, as comments. */
void config_show(FILE *to, const struct config *c, const struct ruling *ruling);

/* A file with all keys, their defaults, who may set them and what they mean, and the presets. */
void config_show_sample(FILE *to);
