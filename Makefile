# dsfs: build, test, measure, install. `make help` lists the targets.
# Each room lists its own files in <room>/files.mk; nothing is found by globbing.

PREFIX ?= /usr/local
DESTDIR ?=
CC ?= gcc
VARIANT ?= release
BUILD ?= build
OUT := $(BUILD)/$(VARIANT)

VERSION := 0.1.0

include cache/files.mk fs/files.mk sync/files.mk tests/files.mk bench/files.mk
include packaging/flags.mk

LIB_SRCS := $(CACHE_SRCS) $(FS_SRCS) $(SYNC_SRCS)
LIB_OBJS := $(LIB_SRCS:%.c=$(OUT)/%.o)
LIB := $(OUT)/libdsfs.a

all: $(BUILD)/dsfs ## build the binary, build/dsfs

$(BUILD)/dsfs: $(OUT)/dsfs
	@ln -f $< $@ 2>/dev/null || cp $< $@

$(OUT)/dsfs: $(OUT)/sync/agent/main.o $(LIB)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(LIB): $(LIB_OBJS)
	@rm -f $@
	$(AR) rcs $@ $^

$(OUT)/%.o: %.c $(DEPS_STAMP)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

include tests/rules.mk bench/rules.mk packaging/rules.mk

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | expand -t 18

clean: ## remove what was built (libfuse's own build stays)
	rm -rf $(BUILD)

-include $(LIB_OBJS:.o=.d)

.PHONY: all help clean
