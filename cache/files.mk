CACHE_SRCS := \
	cache/base/fd.c \
	cache/base/gitdir.c \
	cache/base/ident.c \
	cache/base/log.c \
	cache/base/thread.c \
	cache/cache.c \
	cache/check.c \
	cache/guard.c \
	cache/hash.c \
	cache/quiet.c \
	cache/record.c \
	cache/scan.c \
	cache/scan_dir.c \
	cache/scan_look.c \
	cache/scope.c \
	cache/store.c \
	cache/store_write.c
