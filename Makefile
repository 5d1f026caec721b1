# CometMQ: builds everything into $(BUILD). See README.md; `make help` lists the targets.
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
ifeq ($(origin CC),default)
CC := gcc
endif
SANITIZE ?=
# Sanitizers are there to find faults; -O1 builds them in two thirds of the time.
OPTIMIZE ?= $(if $(SANITIZE),-O1,-O2)
VERSION := 0.1.0

PACKAGES := libevent_core libconfig libprotobuf-c zlib yaml-0.1 openssl
CFLAGS   ?= $(OPTIMIZE) -g
SANITIZE_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE))
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes \
            -Wvla -Wwrite-strings -Wpointer-arith -Wformat=2 -Werror
ALL_CPPFLAGS := -D_GNU_SOURCE -I. -isystem $(BUILD)/gen -DCOMETMQ_VERSION='"$(VERSION)"' $(CPPFLAGS)
ALL_CFLAGS   := -std=c11 $(WARNINGS) -fno-omit-frame-pointer -pthread $(CFLAGS) \
                $(SANITIZE_FLAGS) $(if $(SANITIZE),-DDEBUG)
ALL_LDFLAGS  := -pthread $(LDFLAGS) $(SANITIZE_FLAGS)
LDLIBS       := -Wl,--as-needed $(shell pkg-config --libs $(PACKAGES)) -lisal -lm

# The rooms, bottom up; each may use only what stands after it in LINK_<room>.
ROOMS      := base proto filter sys tls conf net store repl access state proc namesrv client bench mqstore
DIR_base   := common/base
DIR_proto  := proto
DIR_filter := broker/filter
DIR_sys    := common/sys
DIR_tls    := common/tls
DIR_conf   := common/conf
DIR_net    := common/net
DIR_store  := broker/store
DIR_repl   := broker/repl
DIR_access := broker/access
DIR_state  := broker/state
DIR_proc   := broker/proc
DIR_namesrv := namesrv
DIR_client := client
DIR_bench  := tools/bench
DIR_mqstore := tools/mqstore
LINK_base  := base
LINK_proto := proto base
LINK_filter := filter proto base
LINK_sys   := sys base
LINK_tls   := tls sys base
LINK_conf  := conf tls sys base
LINK_net   := net proto tls sys base
LINK_store := store proto sys base
LINK_repl  := repl store net proto tls sys base
LINK_access := access proto sys base
LINK_state := state filter store net conf proto tls sys base
LINK_proc  := proc state access filter repl store net conf proto tls sys base
LINK_namesrv := namesrv net conf proto tls sys base
LINK_client := client net proto tls sys base
LINK_bench := bench client net proto tls sys base
LINK_mqstore := mqstore state filter store net conf proto tls sys base

library = $(BUILD)/lib$(1).a
objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

GENERATED := $(patsubst %,$(BUILD)/gen/proto/%.pb-c.c,header body command repl)
GENERATED_HEADERS := $(GENERATED:.c=.h)

BINARIES := $(BUILD)/bin/mqnamesrv $(BUILD)/bin/mqbroker $(BUILD)/bin/mqstore \
            $(if $(wildcard tools/*.c),$(patsubst tools/%.c,$(BUILD)/bin/%,$(wildcard tools/*.c)))

.PHONY: all unit-tests many-queues check crash kill-drill bench bench-timers soak soak-history drill fuzz fuzzers replay asan tsan tidy install clean help format docs
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BINARIES)

help:
	@echo 'all      daemons and tools (V=1 shows the commands), into $(BUILD)/bin'
	@echo 'check    unit tests and make tidy'
	@echo 'crash    power cuts, failing calls and damage, CRASH_SECONDS (default 60) for each test'
	@echo 'kill-drill  kill -9 under load, KILL_ROUNDS (default 100) for each flush mode'
	@echo 'bench    measure (ANCHOR=1: beside Apache 4.9.2; CASES=list names the cases)'
	@echo 'bench-timers  how late delayed messages and timers are, 100,000 pending'
	@echo 'soak     100 million messages of backlog: memory, restarts, reading; needs 30 GB of disk'
	@echo 'soak-history  clients come, go and crash, the broker is killed; SOAK_SECONDS (default 300), SOAK_SEED'
	@echo 'drill    faults in a cluster of hosts, ROUNDS each, DRILL=names (DRILL=--help tells all); docs/drills.md'
	@echo 'fuzz     run each fuzz target for FUZZ_SECONDS (default 30); needs clang'
	@echo 'replay   run each fuzz target over its corpus, with any compiler'
	@echo 'many-queues  the store with 50,000 consume queues, and how long it takes'
	@echo 'asan     the unit and end-to-end tests under ASan and UBSan; tsan: under TSan'
	@echo 'tidy     layering, formatting and style checks'
	@echo 'docs     rewrite the pages of docs/ that come from tables'
	@echo 'install  to $$DESTDIR$$PREFIX (default $(PREFIX))'

# A line per file; V=1 shows the commands.
ifeq ($(V),1)
run = $(2)
else
run = @printf '  %-9s %s\n' '$(1)' '$@' && $(2)
endif

# --- compiling -------------------------------------------------------------------------------

$(BUILD)/gen/proto/%.pb-c.c $(BUILD)/gen/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(BUILD)/gen
	$(call run,generate,protoc-c --c_out=$(BUILD)/gen $<)

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c Makefile
	$(call run,compile,$(CC) -std=c11 -w $(CFLAGS) $(SANITIZE_FLAGS) -isystem $(BUILD)/gen -c -o $@ $<)

# -MD, not -MMD: the generated headers count as system headers and must be followed too.
$(BUILD)/%.o: %.c Makefile | $(GENERATED_HEADERS)
	@mkdir -p $(@D)
	$(call run,compile,$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MD -MP -c -o $@ $<)

# One static library per room; mains and generated code are treated apart.
define room_rule
SOURCES_$(1) := $$(filter-out %/main.c,$$(wildcard $$(DIR_$(1))/*.c))
$$(call library,$(1)): $$(call objects,$$(SOURCES_$(1))) $(if $(filter proto,$(1)),$(GENERATED:.c=.o))
	@mkdir -p $$(@D)
	$$(call run,archive,rm -f $$@ && $$(AR) rcs $$@ $$^)
endef
$(foreach room,$(ROOMS),$(eval $(call room_rule,$(room))))

libraries = $(foreach room,$(LINK_$(1)),$(call library,$(room)))

$(BUILD)/bin/mqnamesrv: $(BUILD)/namesrv/main.o $(call libraries,namesrv)
	@mkdir -p $(@D)
	$(call run,link,$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS))

$(BUILD)/bin/mqbroker: $(BUILD)/broker/main.o $(call libraries,proc)
	@mkdir -p $(@D)
	$(call run,link,$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS))

$(BUILD)/bin/mqstore: $(BUILD)/tools/mqstore/main.o $(call libraries,mqstore)
	@mkdir -p $(@D)
	$(call run,link,$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS))

$(BUILD)/bin/%: $(BUILD)/tools/%.o $(call libraries,bench)
	@mkdir -p $(@D)
	$(call run,link,$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS))

# --- unit tests: test/unit/<room>/t_*.c, each linked with its room and those below only --------

UNIT_TESTS := $(patsubst test/%.c,$(BUILD)/test/%,$(wildcard test/unit/*/t_*.c))

# What tests share: test/unit/support/*.c, an archive of which each test takes what it needs.
SUPPORT := $(BUILD)/libtestsupport.a
$(SUPPORT): $(call objects,$(wildcard test/unit/support/*.c))
	$(call run,archive,rm -f $@ && $(AR) rcs $@ $^)

define unit_rule
$(BUILD)/test/unit/$(1)/%: $(BUILD)/test/unit/$(1)/%.o $(SUPPORT) $(call libraries,$(1))
	$$(call run,link,$$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ -lcmocka $$(LDLIBS))
endef
$(foreach room,$(ROOMS),$(eval $(call unit_rule,$(room))))

unit-tests: $(UNIT_TESTS)

# Tools of test/interop/, which are run by the scripts there.
$(BUILD)/test/interop/%: $(BUILD)/test/interop/%.o $(SUPPORT) $(call libraries,proto)
	$(call run,link,$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS))

# The store with very many queues, and how long that takes; some minutes, 2 GB of disk in TMPDIR.
many-queues: $(BUILD)/test/unit/store/t_many_queues
	MANY_QUEUES=$${MANY_QUEUES:-50000} $<

check: unit-tests replay tidy
	sh test/run unit

# The crash tests of the unit suite for longer. A failure prints CRASH_SEED=<number>; with that in
# the environment the same test runs it again.
CRASH_SECONDS ?= 60
CRASH_TESTS := $(addprefix $(BUILD)/test/unit/,store/t_powercut store/t_faults store/t_damage \
               state/t_powercut_tables state/t_timer_power)
crash: $(CRASH_TESTS)
	@for test in $(CRASH_TESTS); do CRASH_SECONDS=$(CRASH_SECONDS) $$test || exit 1; done

KILL_ROUNDS ?= 100
kill-drill: all
	BUILD=$(BUILD) KILL_ROUNDS=$(KILL_ROUNDS) python3 test/e2e/broker_kill.py

# --- fuzz targets: test/fuzz/f_*.c --------------------------------------------------------------
# fuzz/f_<name> searches with libFuzzer (clang only); replay/f_<name> runs the files it is given, with
# any compiler. Seeds lie in test/fuzz/corpus/<name>/.

FUZZ_SECONDS ?= 30
FUZZ_NAMES := $(patsubst test/fuzz/%.c,%,$(wildcard test/fuzz/f_*.c))
FUZZERS := $(addprefix $(BUILD)/fuzz/,$(FUZZ_NAMES))
REPLAYS := $(addprefix $(BUILD)/replay/,$(FUZZ_NAMES))

$(BUILD)/fuzz/%: $(BUILD)/test/fuzz/%.o $(SUPPORT) $(call libraries,proc)
	@mkdir -p $(@D)
	$(call run,link,$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS))

$(BUILD)/replay/%: $(BUILD)/test/fuzz/%.o $(BUILD)/test/fuzz/replay_main.o $(SUPPORT) $(call libraries,proc)
	@mkdir -p $(@D)
	$(call run,link,$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS))

fuzzers: $(FUZZERS)

fuzz:
	$(MAKE) BUILD=build-fuzz CC=clang SANITIZE=address,undefined CFLAGS='-O1 -g -fsanitize=fuzzer-no-link' fuzzers
	sh test/fuzz/run build-fuzz/fuzz $(FUZZ_SECONDS)

replay: $(REPLAYS)
	sh test/fuzz/replay $(BUILD)/replay

asan:
	$(MAKE) BUILD=build-asan SANITIZE=address,undefined all unit-tests
	BUILD=build-asan sh test/run --sanitizer unit e2e

tsan:
	$(MAKE) BUILD=build-tsan SANITIZE=thread all unit-tests
	BUILD=build-tsan sh test/run --sanitizer unit e2e

tidy:
	sh test/tidy

format:
	git ls-files --cached --others --exclude-standard '*.c' '*.h' | xargs clang-format -i

bench: all
	sh test/bench/run

bench-timers: all
	python3 test/bench/timers.py

soak: all
	python3 test/bench/soak.py

soak-history: all
	BUILD=$(BUILD) python3 test/soak/soak.py

# DRILL names faults and options; ROUNDS and REPORT (a file name without its end) are read by drill.py.
drill: all
	BUILD=$(BUILD) python3 test/drill/drill.py $(DRILL)

# --- pages written from tables ------------------------------------------------------------------

$(BUILD)/docs/%: $(BUILD)/docs/generate/%.o $(call libraries,conf)
	@mkdir -p $(@D)
	$(call run,link,$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS))

docs: $(BUILD)/docs/configuration
	$(BUILD)/docs/configuration >docs/configuration.md

# --- install ------------------------------------------------------------------------------------

install: all
	sh bin/install-files '$(BUILD)' '$(DESTDIR)$(PREFIX)'

clean:
	rm -rf $(BUILD) build-asan build-tsan build-fuzz

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
