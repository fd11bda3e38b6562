# How tests are built and run. tests/files.mk names the programs:
#   UNIT_TESTS   tests/unit/test_*.c   one Criterion program each, no mount
#   MOUNT_TESTS  tests/mount/test_*.c  one Criterion program each, on real mounts
#   E2E_TESTS    tests/e2e/test_*.c    the same with real programs at work in them
#   ARTIFACT_TESTS                     of these, what is generated in a checkout: make check-artifacts
#   STRESS       tests/stress/*.c      plain programs (exit status 0 is success), which ThreadSanitizer can run too
#   CONFORM_SRCS tests/conform/*.c     one plain program
#   FIDELITY_SRCS tests/fidelity/*.c   another
#   TEST_LIB_SRCS                      fakes and helpers that all of them link

TEST_LIB_OBJS := $(TEST_LIB_SRCS:%.c=$(OUT)/%.o)
TEST_LIB := $(if $(TEST_LIB_SRCS),$(OUT)/libtests.a)
CRITERION_PROGS := $(patsubst %.c,$(OUT)/%,$(UNIT_TESTS) $(MOUNT_TESTS))
E2E_PROGS := $(patsubst %.c,$(OUT)/%,$(E2E_TESTS))
ARTIFACT_PROGS := $(patsubst %.c,$(OUT)/%,$(ARTIFACT_TESTS))
STRESS_PROGS := $(STRESS:%.c=$(OUT)/%)
CONFORM := $(OUT)/tests/conform/conform
CONFORM_OBJS := $(CONFORM_SRCS:%.c=$(OUT)/%.o)
FIDELITY := $(OUT)/tests/fidelity/fidelity
FIDELITY_OBJS := $(FIDELITY_SRCS:%.c=$(OUT)/%.o)
PROG_OBJS := $(CRITERION_PROGS:=.o) $(E2E_PROGS:=.o) $(ARTIFACT_PROGS:=.o) $(STRESS_PROGS:=.o) $(CONFORM_OBJS) $(FIDELITY_OBJS)

$(OUT)/libtests.a: $(TEST_LIB_OBJS)
	@rm -f $@
	@echo "  AR   $@"
	@$(AR) rcs $@ $^

$(CRITERION_PROGS) $(E2E_PROGS) $(ARTIFACT_PROGS): LINK_LIBS := -lcriterion
$(OUT)/tests/e2e/test_sqlite: LINK_LIBS += -lsqlite3
$(CRITERION_PROGS) $(E2E_PROGS) $(ARTIFACT_PROGS) $(STRESS_PROGS): $(OUT)/%: $(OUT)/%.o $(TEST_LIB) $(LIB)
	$(LINK)

$(CONFORM): $(CONFORM_OBJS) $(TEST_LIB) $(LIB)
	$(LINK)

$(FIDELITY): $(FIDELITY_OBJS) $(TEST_LIB) $(LIB)
	$(LINK)

# All that the tests need, built; they find the binary by DSFS_BIN.
RUN_TESTS = DSFS_BIN='$(abspath $(OUT)/dsfs)' VARIANT='$(VARIANT)' tests/run
# As many jobs as there are processors, unless the caller said how many.
JOBS = $(if $(findstring j,$(firstword -$(MAKEFLAGS)))$(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

tests: $(OUT)/dsfs $(BUILD)/dsfs-client $(CRITERION_PROGS) $(E2E_PROGS) $(ARTIFACT_PROGS) $(STRESS_PROGS) $(CONFORM) $(FIDELITY) $(BENCH_BINS) ## build the binary and all test and benchmark programs
	@:

check: ## install what is missing, build, run every test that needs no container
	packaging/deps --for build,run,test
	@$(MAKE) --no-print-directory $(JOBS) $(BUILD)/dsfs tests
	@$(MAKE) --no-print-directory check-built

# SHORT=1 leaves out those that take long and mostly run other programs' code, for a second run under a sanitizer.
LONG_PROGS = $(patsubst %,$(OUT)/tests/mount/test_%,fds git leavings) $(CONFORM) $(FIDELITY)

check-built:
	DSFS_CONFORM=quick $(RUN_TESTS) $(filter-out $(if $(SHORT),$(LONG_PROGS)),$(CRITERION_PROGS) $(STRESS_PROGS) $(CONFORM) $(FIDELITY))

# What is heard, not what was committed: a new table says in the commit what has changed.
fidelity: $(OUT)/dsfs $(FIDELITY) ## write packaging/manual/fidelity.md: what watchers of a mount hear of the host's edits
	DSFS_BIN='$(abspath $(OUT)/dsfs)' unshare --mount --propagation private -- $(FIDELITY) --write

# `make check` has a part of it (DSFS_CONFORM=quick).
check-conform: $(OUT)/dsfs $(CONFORM) ## every call on every kind of file, in the mount and in its backing, in all combinations
	TEST_TIMEOUT=7200 TEST_VERBOSE=1 $(RUN_TESTS) $(CONFORM)

check-unit: tests ## run the unit tests
	$(RUN_TESTS) $(patsubst %.c,$(OUT)/%,$(UNIT_TESTS))

check-mount: tests ## run the tests on real mounts
	$(RUN_TESTS) $(patsubst %.c,$(OUT)/%,$(MOUNT_TESTS))

# Operations, not the command line; and not what only the source profile promises: reading what is warm without a request, knowing who wrote.
DATA_TESTS = $(filter-out tests/mount/test_cli% $(addprefix tests/mount/test_,data.c idle.c fds.c hash.c several.c recover.c changes.c),$(MOUNT_TESTS))
check-data: tests ## run the tests of operations on real mounts with the data profile
	DSFS_TEST_PROFILE=data $(RUN_TESTS) $(patsubst %.c,$(OUT)/%,$(DATA_TESTS))

check-e2e: ## install what is missing, build, run real programs in mounts: databases, npm, pip, git, make, tar, rsync; in containers: what reloads
	packaging/deps --for build,run,test
	@$(MAKE) --no-print-directory $(JOBS) $(OUT)/dsfs $(E2E_PROGS)
	$(RUN_TESTS) $(E2E_PROGS)

check-artifacts: ## install what is missing, build, run the tools that generate files in a checkout: npm, pip, sass, webpack, python, git
	packaging/deps --for build,run,test
	@$(MAKE) --no-print-directory $(JOBS) $(OUT)/dsfs $(ARTIFACT_PROGS)
	$(RUN_TESTS) $(ARTIFACT_PROGS)

stress: tests ## run the stress programs
	$(RUN_TESTS) $(STRESS_PROGS)

SOAK_SECONDS ?= 600
soak: ## the model stress and stress-ng, SOAK_SECONDS (600) for each profile and transport; SOAK='data/uring …' chooses
	packaging/deps --for build,run,test,bench
	@$(MAKE) --no-print-directory $(JOBS) $(OUT)/dsfs $(OUT)/tests/stress/model
	DSFS_BIN='$(abspath $(OUT)/dsfs)' VARIANT='$(VARIANT)' tests/soak '$(abspath $(OUT)/tests/stress/model)' $(SOAK_SECONDS) $(SOAK)

check-asan: ## the same tests under AddressSanitizer and UBSan
	packaging/deps --for build,run,test
	@$(MAKE) --no-print-directory $(JOBS) VARIANT=asan BENCH_BINS= tests
	@$(MAKE) --no-print-directory VARIANT=asan check-built

# Criterion aborts under ThreadSanitizer, so only plain programs run.
check-tsan: ## the stress programs under ThreadSanitizer
	packaging/deps --for build,run,test
	@$(MAKE) --no-print-directory $(JOBS) VARIANT=tsan build-stress
	@$(MAKE) --no-print-directory VARIANT=tsan check-stress-built

build-stress: $(OUT)/dsfs $(STRESS_PROGS)

check-stress-built:
	$(RUN_TESTS) $(STRESS_PROGS)

-include $(PROG_OBJS:.o=.d) $(TEST_LIB_OBJS:.o=.d)

.SECONDARY: $(PROG_OBJS)
.PHONY: tests check check-built check-unit check-mount check-data check-e2e check-artifacts stress check-asan check-tsan build-stress check-stress-built check-conform fidelity soak
