CACHE_SRCS := \
	cache/base/fd.c \
	cache/base/ident.c \
	cache/base/log.c \
	cache/base/thread.c
