# Compiler and linker flags by pkg-config. libfuse is the system's, or the one that packaging/deps keeps outside the tree.
# CC, CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS of the caller come after ours. WERROR=1 turns warnings into errors (development and CI).
# A room's files.mk may add linker flags for the binary and the tests in FS_LDFLAGS (-Wl,--wrap=SYMBOL).

ifeq ($(origin CC),default)
CC := gcc
endif

DSFS_DEPS ?= $(or $(XDG_CACHE_HOME),$(or $(HOME),/root)/.cache)/dsfs/deps
FUSE_MIN := 3.18.2
PKGS := libuv jansson libxxhash lmdb yaml-0.1

# The system's own libfuse first, else ours. Either takes liburing and libnuma in with it.
FUSE_PC := $(if $(shell pkg-config --atleast-version=$(FUSE_MIN) fuse3 2>/dev/null && echo yes),,$(DSFS_DEPS)/current/lib/pkgconfig)
PKG_CONFIG_FUSE := $(if $(FUSE_PC),PKG_CONFIG_PATH=$(FUSE_PC)$(addprefix :,$(PKG_CONFIG_PATH))) pkg-config

DEPS_OK := $(shell $(PKG_CONFIG_FUSE) --exists 'fuse3 >= $(FUSE_MIN)' $(PKGS) 2>/dev/null && echo yes)
# Nothing is compiled before this: it says in one line what to run, and never comes to exist.
DEPS_STAMP := $(if $(DEPS_OK),,deps-missing)

FUSE_CFLAGS := $(if $(DEPS_OK),$(shell $(PKG_CONFIG_FUSE) --cflags fuse3 $(PKGS)))
# Static, wherever there is a static one: --wrap reaches into an archive, not into a shared library.
FUSE_ARCHIVE := $(if $(DEPS_OK),$(wildcard $(shell $(PKG_CONFIG_FUSE) --variable=libdir fuse3)/libfuse3.a))
ifneq ($(FUSE_ARCHIVE),)
FUSE_LIBS := $(shell $(PKG_CONFIG_FUSE) --static --libs fuse3)
FUSE_LIBS := $(patsubst -lfuse3,-l:libfuse3.a,$(patsubst -luring,-l:liburing.a,$(patsubst -lnuma,-l:libnuma.a,$(FUSE_LIBS))))
else
FUSE_LIBS := $(if $(DEPS_OK),$(shell $(PKG_CONFIG_FUSE) --libs fuse3))
endif
LIBS := $(FUSE_LIBS) $(if $(DEPS_OK),$(shell pkg-config --libs $(PKGS))) -pthread -ldl $(LDLIBS)

VARIANT_FLAGS_release := -O2 -g
VARIANT_FLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
VARIANT_FLAGS_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
# gcc's shared libubsan is deaf to UBSAN_OPTIONS=log_path, by which tests/run hears what the agent has no terminal to say on.
ifeq ($(findstring clang,$(CC)),)
VARIANT_LDFLAGS_asan := -static-libubsan
endif
ifeq ($(VARIANT_FLAGS_$(VARIANT)),)
$(error VARIANT=$(VARIANT): there are release, asan and tsan)
endif

WARNINGS := -Wall -Wextra $(if $(filter 1,$(WERROR)),-Werror)
BASE_CFLAGS := -std=c17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 '-DFUSE_USE_VERSION=FUSE_MAKE_VERSION(3,18)' \
	-DDSFS_VERSION='"$(VERSION)"' -I. -pthread $(FUSE_CFLAGS) $(WARNINGS)
# clang proves our locking on every build; gcc has no such check.
ifneq ($(findstring clang,$(CC)),)
BASE_CFLAGS += -Wthread-safety
endif
ALL_CFLAGS = $(BASE_CFLAGS) $(VARIANT_FLAGS_$(VARIANT)) $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(VARIANT_FLAGS_$(VARIANT)) $(VARIANT_LDFLAGS_$(VARIANT)) -pthread $(FS_LDFLAGS) $(LDFLAGS)

deps-missing:
	@echo "dsfs: dependencies are missing; run: packaging/deps   (packaging/deps --check says which)" >&2; exit 1
.PHONY: deps-missing
