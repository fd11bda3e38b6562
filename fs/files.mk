FS_SRCS := \
	fs/offload.c \
	fs/ring.c

# libfuse's ring threads sleep in this: fs/ring.c wakes them.
FS_LDFLAGS := -Wl,--wrap=io_uring_submit_and_wait
