SYNC_SRCS :=
SYNC_SRCS += \
	sync/watch.c \
	sync/watch_fanotify.c \
	sync/watch_inotify.c \
	sync/watch_inotify_scan.c \
	sync/watch_inotify_tree.c
SYNC_SRCS += \
	sync/engine.c \
	sync/hashing.c \
	sync/hashing_place.c \
	sync/hashing_queue.c \
	sync/serve/client.c \
	sync/serve/control.c \
	sync/serve/json.c \
	sync/serve/registry.c \
	sync/serve/why.c \
	sync/agent/agent.c \
	sync/agent/cmd.c \
	sync/agent/cmd_doctor.c \
	sync/agent/cmd_hash.c \
	sync/agent/cmd_mount.c \
	sync/agent/cmd_status.c \
	sync/agent/cmd_umount.c \
	sync/agent/cmd_wait.c \
	sync/agent/config.c \
	sync/agent/config_artifacts.c \
	sync/agent/config_doc.c \
	sync/agent/config_keys.c \
	sync/agent/daemon.c \
	sync/agent/follow.c \
	sync/agent/hash_progress.c \
	sync/agent/mountinfo.c \
	sync/agent/options.c \
	sync/agent/paths.c \
	sync/agent/place.c \
	sync/agent/prewarm.c \
	sync/agent/prewarm_walk.c \
	sync/agent/presets.c \
	sync/agent/record.c \
	sync/agent/report.c \
	sync/agent/rule_list.c \
	sync/agent/seat.c \
	sync/agent/state.c \
	sync/agent/taking.c \
	sync/agent/verbs.c
