# The checks that run nothing, and everything around the build: run, format, install, dist.

# Formatting and includes are looked at wherever the files are, listed or not.
C_FILES = $(shell find cache fs sync tests bench -name '*.[ch]' | LC_ALL=C sort)
C_SRCS = $(LIB_SRCS) $(MAIN) $(filter sync/client/%,$(CLIENT_SRCS)) $(UNIT_TESTS) $(MOUNT_TESTS) $(E2E_TESTS) $(ARTIFACT_TESTS) $(STRESS) $(CONFORM_SRCS) $(TEST_LIB_SRCS) $(FUZZ_SRCS) $(BENCH)

SRC ?=
run: ## install what is missing, build, mount SRC=<directory> (default: a small sample)
	@packaging/deps --for build,run
	@$(MAKE) --no-print-directory $(JOBS) all
	@packaging/run '$(abspath $(BUILD)/dsfs)' '$(SRC)'

check-format: ## is every C file formatted by .clang-format?
	@clang-format --dry-run -Werror $(C_FILES)

format: ## format every C file
	clang-format -i $(C_FILES)

check-headers: $(DEPS_STAMP) ## does every header compile alone, with gcc and clang?
	@packaging/check/headers $(ALL_CFLAGS)

check-layers: ## do includes keep to the layers sync > fs > cache > cache/base?
	@packaging/check/layers

check-locks: $(DEPS_STAMP) ## clang's -Wthread-safety over all C files
	@clang $(BASE_CFLAGS) -fsyntax-only -Wthread-safety -Werror=thread-safety $(C_SRCS)

check-static: check-format check-headers check-layers check-locks ## the checks that run nothing

check-docs: all static ## has every command, option, key and verb its entry in man pages, completions, README and manual?
	@packaging/check/docs '$(BUILD)/dsfs' '$(BUILD)/dsfs-client'

check-install: all static ## does what `make install` puts somewhere work there?
	@packaging/check/install $(MAKE)

docs: all static ## write the man pages, the sample configuration and its copy in the manual from what the binary says
	packaging/man/generate $(BUILD)/dsfs $(BUILD)/dsfs-client packaging/man
	$(BUILD)/dsfs config show --defaults >packaging/dsfs.yaml
	sed -i -e '/^```yaml$$/,/^```$$/ { /^```/!d }' -e '/^```yaml$$/r packaging/dsfs.yaml' packaging/manual/configuration.md

tour: all ## record the README's tour anew (as root)
	packaging/tour/record '$(BUILD)/dsfs' packaging/tour/tour.svg

# Where systemd's units and zsh's completions go; distributions have their own views of that.
UNITDIR ?= $(PREFIX)/lib/systemd
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions

install: all static ## install below DESTDIR and PREFIX
	install -D -m 755 $(OUT)/dsfs '$(DESTDIR)$(PREFIX)/bin/dsfs'
	install -D -m 755 $(BUILD)/dsfs-client '$(DESTDIR)$(PREFIX)/bin/dsfs-client'
	install -D -m 755 packaging/mount.dsfs '$(DESTDIR)$(PREFIX)/sbin/mount.dsfs'
	install -D -m 644 -t '$(DESTDIR)$(PREFIX)/share/doc/dsfs' README.md CHANGELOG.md LICENSE packaging/dsfs.yaml
	install -D -m 644 -t '$(DESTDIR)$(PREFIX)/share/doc/dsfs/manual' packaging/manual/*.md
	install -D -m 644 -t '$(DESTDIR)$(PREFIX)/share/doc/dsfs/docker' packaging/docker/*.yaml
	install -d -m 755 '$(DESTDIR)$(UNITDIR)/system' '$(DESTDIR)$(UNITDIR)/user'
	cd packaging/systemd && for unit in system/* user/*; do \
		sed 's,/usr/local/bin/,$(PREFIX)/bin/,' "$$unit" >'$(DESTDIR)$(UNITDIR)/'"$$unit" || exit 1; done
	install -D -m 644 -t '$(DESTDIR)$(PREFIX)/share/dsfs/schema' packaging/schema/*.json
	for page in packaging/man/*.[1578]; do install -D -m 644 -t '$(DESTDIR)$(PREFIX)/share/man/man'"$${page##*.}" "$$page" || exit 1; done
	install -D -m 644 packaging/completions/dsfs.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/dsfs'
	install -D -m 644 -t '$(DESTDIR)$(ZSHDIR)' packaging/completions/_dsfs
	install -D -m 644 -t '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d' packaging/completions/dsfs.fish

deb: $(DEPS_STAMP) ## build the Debian package, below BUILD
	@packaging/deb '$(BUILD)/deb'

check-deb: ## build the Debian package, look at it, install, upgrade and purge it in a fresh Debian (as root)
	packaging/deps --for build,deb
	@packaging/check/deb '$(abspath $(BUILD))/deb'

dist: ## the source of HEAD as a tar file below BUILD
	@mkdir -p $(BUILD)
	git archive --format=tar.gz --prefix=dsfs-$(VERSION)/ -o $(BUILD)/dsfs-$(VERSION).tar.gz HEAD

.PHONY: run check-format format check-headers check-layers check-locks check-static check-docs check-install docs tour install deb check-deb dist
