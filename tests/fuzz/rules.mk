# Fuzz targets: one line each, `$(eval $(call fuzz_target,NAME,SOURCES))`, for tests/fuzz/NAME.c and what it needs of ours. A target runs
# over its corpus, tests/fuzz/corpus/NAME/, and then for FUZZ_SECONDS over what libFuzzer makes of it. What makes it fail is left in build/fuzz/.

FUZZ_SECONDS ?= 20
FUZZ_DIR := $(BUILD)/fuzz
FUZZ_CFLAGS = -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUZZ_SRCS :=
FUZZ_PROGS :=

define fuzz_target
FUZZ_SRCS += tests/fuzz/$(1).c
FUZZ_PROGS += $(FUZZ_DIR)/$(1)
$(FUZZ_DIR)/$(1): tests/fuzz/$(1).c $(2) FORCE $(DEPS_STAMP)
	@mkdir -p $$(@D)
	@echo "  FUZZ $$@"
	@clang $$(BASE_CFLAGS) $$(FUZZ_CFLAGS) -o $$@ $$(filter %.c,$$^) $$(LIBS)
endef

$(eval $(call fuzz_target,check,cache/check.c cache/base/fd.c))
$(eval $(call fuzz_target,record,cache/record.c cache/hash.c cache/base/fd.c))
$(eval $(call fuzz_target,request,$(addprefix sync/serve/,registry.c json.c why.c) cache/base/fd.c))
$(eval $(call fuzz_target,config,$(addprefix sync/agent/,config.c config_artifacts.c config_doc.c config_keys.c options.c presets.c rule_list.c) \
	sync/serve/why.c $(addprefix fs/,rules.c patterns.c finder.c glob.c) cache/base/fd.c cache/base/thread.c))
$(eval $(call fuzz_target,ignore,$(addprefix sync/agent/,ignore_file.c rule_list.c) $(addprefix fs/,rules.c patterns.c finder.c glob.c) \
	cache/base/fd.c cache/base/thread.c))
$(eval $(call fuzz_target,events,$(addprefix sync/serve/,stream_lines.c subscriber.c json.c why.c) sync/journal.c cache/hash.c cache/record.c cache/base/fd.c cache/base/thread.c))
$(eval $(call fuzz_target,clock,sync/journal.c cache/base/thread.c))
$(eval $(call fuzz_target,reflog,sync/reflog.c))

$(eval $(call fuzz_target,http,sync/serve/http_request.c))
$(eval $(call fuzz_target,volume,$(addprefix sync/agent/,volume.c config_keys.c options.c) sync/serve/why.c))

check-fuzz: ## each fuzz target: its corpus, then FUZZ_SECONDS=20 of fuzzing
	@$(MAKE) --no-print-directory $(JOBS) $(FUZZ_PROGS)
	tests/fuzz/run '$(FUZZ_SECONDS)' $(FUZZ_PROGS)

.PHONY: check-fuzz
