/*
 * What came out, as a table for people and as JSON for the record.
 */
#pragma once

#include <stdbool.h>
#include <jansson.h>

struct bench;
struct measured;
struct options;
struct place;
struct result;
struct side;
struct workload;

void report_header(void);

/* One line of the table of two sides. False when the floor is missed (of a self-check: when it isn't near 1.0) or the workload failed. */
bool report_line(const struct bench *b, const struct result *r);

/* The entry of one workload, of two sides, in the file, a new reference. */
json_t *report_entry(const struct bench *b, const struct result *r);

/* The ratio that `s` may have at most, 0: any. Whether it has more. */
double report_floor(const struct options *o, const struct workload *w, const struct side *s);
bool report_missed(const struct options *o, const struct measured *m, double floor);

/* Add floor and requests to an entry. */
void report_judge(const struct options *o, const struct measured *m, double floor, json_t *entry);

/* The sum of an operation's requests. */
double report_total(json_t *requests);

/* The machine that this ran on, a new reference. `transport` may be NULL. */
json_t *report_machine(const struct options *o, const struct place *place, const char *transport);

/* Print what that is, and what to know when reading the figures. */
void report_conditions(const struct options *o, json_t *machine, const struct place *place);

/* Write {"machine", "workloads"} to --json's file, making its directory. Takes both. False with a message. */
bool report_write(const struct options *o, json_t *machine, json_t *workloads);
