TEST_LIB_SRCS += tests/lib/area.c tests/lib/child.c tests/lib/mount.c tests/lib/oracle.c
STRESS += tests/stress/offload.c
TEST_LIB_SRCS += tests/stress/tiny.c
TEST_LIB_SRCS += tests/lib/watch_record.c
UNIT_TESTS += tests/unit/test_watch.c tests/unit/test_watch_inotify.c tests/unit/test_watch_inotify_tree.c
UNIT_TESTS += tests/unit/test_engine.c
STRESS += tests/stress/watch.c tests/stress/watch_same.c
UNIT_TESTS += tests/unit/test_journal.c tests/unit/test_reflog.c tests/unit/test_settle.c tests/unit/test_batches.c
STRESS += tests/stress/journal.c
MOUNT_TESTS += tests/mount/test_changes.c
CONFORM_SRCS += tests/conform/main.c tests/conform/run.c tests/conform/compare.c tests/conform/state.c tests/conform/targets.c \
	tests/conform/groups.c tests/conform/expected.c tests/conform/differences.c tests/conform/calls_open.c tests/conform/calls_names.c \
	tests/conform/calls_attr.c tests/conform/calls_xattr.c tests/conform/calls_use.c tests/conform/calls_data.c \
	tests/conform/sequences.c tests/conform/sequences_owner.c tests/conform/sequences_limits.c
MOUNT_TESTS += \
	tests/mount/test_data.c \
	tests/mount/test_files.c \
	tests/mount/test_mmap.c \
	tests/mount/test_dirs.c \
	tests/mount/test_links.c \
	tests/mount/test_attrs.c \
	tests/mount/test_atimes.c \
	tests/mount/test_locks.c \
	tests/mount/test_perms.c \
	tests/mount/test_owner.c \
	tests/mount/test_traps.c \
	tests/mount/test_fds.c \
	tests/mount/test_idle.c \
	tests/mount/test_coherence.c \
	tests/mount/test_events.c \
	tests/mount/test_git.c
STRESS += tests/stress/coherence.c tests/stress/tree.c
TEST_LIB_SRCS += tests/stress/edit.c
TEST_LIB_SRCS += tests/lib/proc.c tests/lib/schema.c
MOUNT_TESTS += tests/mount/test_cli_status.c tests/mount/test_cli_status_notes.c
MOUNT_TESTS += tests/mount/test_doctor.c tests/mount/test_mount_helper.c
MOUNT_TESTS += tests/mount/test_cli_logs.c
MOUNT_TESTS += tests/mount/test_cli_complete.c
UNIT_TESTS += tests/unit/test_log.c
UNIT_TESTS += tests/unit/test_stream.c tests/unit/test_stream_limits.c tests/unit/test_subscriber.c
UNIT_TESTS += tests/unit/test_control.c tests/unit/test_json.c tests/unit/test_options.c tests/unit/test_request.c
MOUNT_TESTS += tests/mount/test_hash.c tests/mount/test_cli_hash.c
MOUNT_TESTS += tests/mount/test_cli_run.c
MOUNT_TESTS += tests/mount/test_several.c tests/mount/test_cli_several.c tests/mount/test_cli_together.c
MOUNT_TESTS += tests/mount/test_own.c tests/mount/test_cli_events.c
MOUNT_TESTS += tests/mount/test_view.c tests/mount/test_guarded.c tests/mount/test_leavings.c
MOUNT_TESTS += tests/mount/test_cli_plugin.c tests/mount/test_cli_plugin_fails.c
MOUNT_TESTS += tests/mount/test_cli.c tests/mount/test_cli_dead.c tests/mount/test_cli_holder.c tests/mount/test_cli_user.c tests/mount/test_recover.c
UNIT_TESTS += tests/unit/test_node.c tests/unit/test_name.c tests/unit/test_slots.c tests/unit/test_ident.c tests/unit/test_fd.c
STRESS += tests/stress/tables.c
STRESS += tests/stress/overtaken.c tests/stress/come_and_go.c
STRESS += tests/stress/agent_kill.c
UNIT_TESTS += tests/unit/test_stay.c
TEST_LIB_SRCS += tests/e2e/tool.c tests/e2e/container.c tests/e2e/reloader.c
ARTIFACT_TESTS += tests/e2e/test_reference.c tests/e2e/test_branches.c
E2E_TESTS += \
	tests/e2e/test_mariadb.c \
	tests/e2e/test_sqlite.c \
	tests/e2e/test_npm.c \
	tests/e2e/test_pip.c \
	tests/e2e/test_copy.c \
	tests/e2e/test_make.c \
	tests/e2e/test_worktrees.c
TEST_LIB_SRCS += tests/stress/model_op.c tests/stress/model_draw.c tests/stress/model_side.c tests/stress/model_bytes.c tests/stress/model_map.c \
	tests/stress/model_names.c tests/stress/model_mount.c tests/stress/model_stage.c tests/stress/model_exact.c tests/stress/model_race.c \
	tests/stress/model_race_bytes.c tests/stress/model_race_names.c tests/stress/model_ng.c
STRESS += tests/stress/model.c
STRESS += tests/stress/ignore.c
UNIT_TESTS += tests/unit/test_patterns.c
TEST_LIB_SRCS += tests/lib/naive.c tests/stress/tree_edit.c
STRESS += tests/stress/cache_property.c tests/stress/cache_kill.c tests/stress/cache_scribble.c
UNIT_TESTS += tests/unit/test_record.c tests/unit/test_scope.c tests/unit/test_hash.c tests/unit/test_scan.c tests/unit/test_check.c \
	tests/unit/test_store.c tests/unit/test_update.c
UNIT_TESTS += tests/unit/test_config.c
MOUNT_TESTS += tests/mount/test_cli_config.c
STRESS += tests/stress/gitignored.c
UNIT_TESTS += tests/unit/test_ruling.c
TEST_LIB_SRCS += tests/lib/tar.c
UNIT_TESTS += tests/unit/test_untar.c
MOUNT_TESTS += tests/mount/test_cli_artifacts.c tests/mount/test_cli_artifacts_adopt.c tests/mount/test_cli_artifacts_saved.c
MOUNT_TESTS += tests/mount/test_generations.c
STRESS += tests/stress/generations_kill.c
UNIT_TESTS += tests/unit/test_keys.c
E2E_TESTS += tests/e2e/test_events.c
E2E_TESTS += tests/e2e/test_image.c tests/e2e/test_container.c
UNIT_TESTS += tests/unit/test_latency.c
MOUNT_TESTS += tests/mount/test_overlay.c tests/mount/test_cross.c
STRESS += tests/stress/moves.c
E2E_TESTS += tests/e2e/test_reload.c
TEST_LIB_SRCS += tests/lib/events.c
UNIT_TESTS += tests/unit/test_http.c tests/unit/test_volume.c
E2E_TESTS += tests/e2e/test_plugin.c
UNIT_TESTS += tests/unit/test_decide.c tests/unit/test_run.c tests/unit/test_run_terminal.c tests/unit/test_selection.c
FIDELITY_SRCS += tests/fidelity/main.c tests/fidelity/ear.c tests/fidelity/rules.c tests/fidelity/edits.c tests/fidelity/tools.c \
	tests/fidelity/follower.c
STRESS += tests/stress/heard.c tests/stress/hammer.c
