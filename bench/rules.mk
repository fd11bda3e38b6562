# The benchmarks. BENCH_ARGS is handed to the program ("make bench-quick BENCH_ARGS='--only walk,stat'"); bench/README.md says what they do.

BENCH_OBJS := $(BENCH_SRCS:%.c=$(OUT)/%.o)
BENCH_BINS := $(BENCH:%.c=$(OUT)/%)
BENCH_ARGS ?=

$(BENCH_BINS): $(OUT)/%: $(OUT)/%.o $(BENCH_OBJS) $(LIB)
	$(LINK)

bench: all $(OUT)/bench/bench ## every row of the design's table, both profiles and what else is installed, at most 15 minutes
	DSFS_BIN='$(or $(DSFS_BIN),$(BUILD)/dsfs)' $(OUT)/bench/bench $(BENCH_ARGS)

bench-smoke: all $(OUT)/bench/bench ## does the benchmark program work? one round of everything on tiny trees
	DSFS_BIN='$(or $(DSFS_BIN),$(BUILD)/dsfs)' $(OUT)/bench/bench --smoke --json $(BUILD)/bench-smoke.json $(BENCH_ARGS)

bench-quick: all $(OUT)/bench/quick ## everyday work through dsfs against a bind mount, at most 3 minutes
	DSFS_BIN='$(or $(DSFS_BIN),$(BUILD)/dsfs)' $(OUT)/bench/quick --json $(BUILD)/bench-quick.json $(BENCH_ARGS)

bench-latency: all $(OUT)/bench/latency ## how long until a host's edit is readable through the mount, and heard of; a storm
	DSFS_BIN='$(or $(DSFS_BIN),$(BUILD)/dsfs)' $(OUT)/bench/latency --json $(BUILD)/bench-latency.json $(BENCH_ARGS)

bench-micro: all $(OUT)/bench/micro ## microseconds of single operations through dsfs and a bind mount
	DSFS_BIN='$(or $(DSFS_BIN),$(BUILD)/dsfs)' $(OUT)/bench/micro --json $(BUILD)/bench-micro.json $(BENCH_ARGS)

bench-patterns: $(OUT)/bench/patterns ## nanoseconds to find a name's rule among 200
	$(OUT)/bench/patterns

bench-cache: all $(OUT)/bench/cache ## hashing a tree against git and xxhsum, at most 3 minutes
	$(OUT)/bench/cache --json $(BUILD)/bench-cache.json $(BENCH_ARGS)

bench-self: $(OUT)/bench/quick ## is the instrument true? a bind mount against another
	$(OUT)/bench/quick --self --budget 60 --json $(BUILD)/bench-self.json $(BENCH_ARGS)

-include $(BENCH_OBJS:.o=.d) $(BENCH_BINS:=.d)

.SECONDARY: $(BENCH_BINS:=.o)
.PHONY: bench bench-smoke bench-quick bench-latency bench-micro bench-patterns bench-self
