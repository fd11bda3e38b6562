# dsfs-client: one static program for containers, of what knows no agent and no libfuse. Always without sanitizers, which can't be static.

CLIENT_SRCS := sync/client/main.c sync/client/follow.c sync/client/status.c $(filter sync/run/%,$(SYNC_SRCS)) \
	$(addprefix sync/serve/,subscriber.c json.c why.c) $(addprefix fs/,patterns.c finder.c glob.c) $(addprefix cache/base/,fd.c log.c thread.c)
CLIENT_OUT := $(BUILD)/client
CLIENT_OBJS := $(CLIENT_SRCS:%.c=$(CLIENT_OUT)/%.o)
CLIENT_PKGS := jansson libxxhash
CLIENT_CFLAGS = -std=c17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DDSFS_VERSION='"$(VERSION)"' -I. -pthread $(WARNINGS) -O2 -g $(CPPFLAGS) $(CFLAGS)

static: $(BUILD)/dsfs-client ## build build/dsfs-client, a static program for containers

$(BUILD)/dsfs-client: $(CLIENT_OBJS)
	@echo "  LINK $@"
	@$(CC) -static -pthread -o $@ $^ $$(pkg-config --static --libs $(CLIENT_PKGS)) $(LDFLAGS)

$(CLIENT_OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $@"
	@$(CC) $(CLIENT_CFLAGS) -MMD -MP -c -o $@ $<

-include $(CLIENT_OBJS:.o=.d)
.PHONY: static
