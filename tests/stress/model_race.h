/*
 * The model stress with everybody at once: games that several processes play on the same few files from both sides, each with a rule that
 * holds however they meet.
 */
#pragma once

#include <stdint.h>

#include "tests/stress/model_stage.h"

#define RACERS 6

/* What has been done, told to who checks it: written by its racer alone. */
struct done {
        uint32_t logged; /* records appended */
        uint32_t slot;   /* the last value of its own slot */
        uint32_t mapped; /* the last stamp of its own pages */
        uint32_t linked; /* its links that exist */
        uint32_t saved;  /* the last generation of its own document */
};

struct racer {
        unsigned id;
        char root[160]; /* of the round, on its side */
        char crowd[128];
        bool in_mount;
        struct dice dice;
        struct done *done; /* of everybody */
        int log[2];        /* two handles for appending; -1 */
        unsigned seen[RACERS];
};

/* The same names seen from one side, when all have stopped. */
struct view {
        const char *root;
        const struct done *done;
        unsigned racers;
        bool whole; /* an append through the mount is one on the source */
};

struct game {
        const char *name;
        void (*lay)(const char *root, unsigned racers); /* what has to be there; may be NULL */
        void (*move)(struct racer *r);
        /* Of the result; may be NULL. False and what is wrong in `report` (REPORT_MAX). */
        bool (*check)(const struct view *v, char *report);
};

extern const struct game game_log, game_slots, game_pages, game_holes;                                        /* model_race_bytes.c */
extern const struct game game_documents, game_files, game_symlinks, game_links, game_directories, game_crowd; /* model_race_names.c */

/* In the mount: what the source's user removed may be gone while it is in use. */
bool race_is_gone(const struct racer *r, int error);
