# The programs, and what they share.
BENCH := \
	bench/bench.c \
	bench/cache.c \
	bench/latency.c \
	bench/micro.c \
	bench/patterns.c \
	bench/quick.c

BENCH_SRCS := \
	bench/apart.c \
	bench/heard.c \
	bench/options.c \
	bench/peer.c \
	bench/place.c \
	bench/report.c \
	bench/round.c \
	bench/scene.c \
	bench/scene_project.c \
	bench/scene_tools.c \
	bench/side.c \
	bench/single.c \
	bench/stats.c \
	bench/table.c \
	bench/tool.c \
	bench/tree.c \
	bench/walk.c \
	bench/work_artifacts.c \
	bench/work_data.c \
	bench/work_npm.c \
	bench/work_tools.c \
	bench/workloads.c
