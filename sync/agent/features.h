/*
 * What this program was built with, and what it can use here.
 */
#pragma once

/* A line for the libraries and one for what the kernel offers: a new text, or NULL without memory. */
char *features_text(void);
