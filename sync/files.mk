SYNC_SRCS :=
SYNC_SRCS += \
	sync/watch.c \
	sync/watch_fanotify.c \
	sync/watch_inotify.c \
	sync/watch_inotify_scan.c \
	sync/watch_inotify_tree.c
