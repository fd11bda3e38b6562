FS_SRCS := \
	fs/artifacts_adopt.c \
	fs/artifacts_disk.c \
	fs/artifacts_kept.c \
	fs/artifacts_prune.c \
	fs/artifacts_saved.c \
	fs/artifacts_survey.c \
	fs/tree.c \
	fs/tree_copy.c \
	fs/tree_links.c \
	fs/attach.c \
	fs/backing.c \
	fs/entry.c \
	fs/host.c \
	fs/inject.c \
	fs/later.c \
	fs/finder.c \
	fs/glob.c \
	fs/guard.c \
	fs/layer.c \
	fs/mount.c \
	fs/name.c \
	fs/node.c \
	fs/offload.c \
	fs/ops.c \
	fs/ops_attr.c \
	fs/ops_dir.c \
	fs/ops_file.c \
	fs/ops_lookup.c \
	fs/ops_names.c \
	fs/ops_remove.c \
	fs/ops_slow.c \
	fs/overlay.c \
	fs/owner.c \
	fs/patterns.c \
	fs/place.c \
	fs/privs.c \
	fs/reach.c \
	fs/ring.c \
	fs/room.c \
	fs/rules.c \
	fs/session.c \
	fs/slots.c \
	fs/stay.c \
	fs/tell.c \
	fs/threads.c \
	fs/worker.c

# libfuse's ring threads sleep in this: fs/ring.c wakes them.
FS_LDFLAGS := -Wl,--wrap=io_uring_submit_and_wait
