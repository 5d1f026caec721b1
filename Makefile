# CometMQ: builds everything into $(BUILD). See README.md; `make help` lists the targets.
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
ifeq ($(origin CC),default)
CC := gcc
endif
SANITIZE ?=
OPTIMIZE ?= -O2
VERSION := 0.1.0

PACKAGES := libevent_core libevent_pthreads libconfig libprotobuf-c zlib
CFLAGS   ?= $(OPTIMIZE) -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes \
            -Wvla -Wwrite-strings -Wpointer-arith -Wformat=2 -Werror
ALL_CPPFLAGS := -D_GNU_SOURCE -I. -isystem $(BUILD)/gen -DCOMETMQ_VERSION='"$(VERSION)"' $(CPPFLAGS)
ALL_CFLAGS   := -std=c11 $(WARNINGS) -fno-omit-frame-pointer -pthread $(CFLAGS) \
                $(if $(SANITIZE),-fsanitize=$(SANITIZE) -DDEBUG)
ALL_LDFLAGS  := -pthread $(LDFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE))
LDLIBS       := $(shell pkg-config --libs $(PACKAGES)) -lisal -lm

# The rooms, bottom up; each may use only what stands after it in LINK_<room>.
ROOMS      := base proto sys conf net store state proc namesrv client
DIR_base   := common/base
DIR_proto  := proto
DIR_sys    := common/sys
DIR_conf   := common/conf
DIR_net    := common/net
DIR_store  := broker/store
DIR_state  := broker/state
DIR_proc   := broker/proc
DIR_namesrv := namesrv
DIR_client := client
LINK_base  := base
LINK_proto := proto base
LINK_sys   := sys base
LINK_conf  := conf sys base
LINK_net   := net proto sys base
LINK_store := store proto sys base
LINK_state := state store net conf proto sys base
LINK_proc  := proc state store net conf proto sys base
LINK_namesrv := namesrv net conf proto sys base
LINK_client := client net proto sys base

library = $(BUILD)/lib$(1).a
objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

GENERATED := $(BUILD)/gen/proto/header.pb-c.c $(BUILD)/gen/proto/body.pb-c.c
GENERATED_HEADERS := $(GENERATED:.c=.h)

BINARIES := $(BUILD)/bin/mqnamesrv $(BUILD)/bin/mqbroker \
            $(if $(wildcard tools/*.c),$(patsubst tools/%.c,$(BUILD)/bin/%,$(wildcard tools/*.c)))

.PHONY: all check bench fuzz asan tsan tidy install clean help format docs
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BINARIES)

help:
	@echo 'all      daemons and tools, into $(BUILD)/bin'
	@echo 'check    unit tests and make tidy'
	@echo 'bench    measure (ANCHOR=1: beside Apache 4.9.2)'
	@echo 'fuzz     run each fuzz target for FUZZ_SECONDS (default 30); needs clang'
	@echo 'asan     the unit and end-to-end tests under ASan and UBSan; tsan: under TSan'
	@echo 'tidy     layering, formatting and style checks'
	@echo 'install  to $$DESTDIR$$PREFIX (default $(PREFIX))'

# --- compiling -------------------------------------------------------------------------------

$(BUILD)/gen/proto/%.pb-c.c $(BUILD)/gen/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(BUILD)/gen
	protoc-c --c_out=$(BUILD)/gen $<

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c
	$(CC) -std=c11 -w $(OPTIMIZE) -g $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -isystem $(BUILD)/gen -c -o $@ $<

$(BUILD)/%.o: %.c | $(GENERATED_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# One static library per room; mains and generated code are treated apart.
define room_rule
SOURCES_$(1) := $$(filter-out %/main.c,$$(wildcard $$(DIR_$(1))/*.c))
$$(call library,$(1)): $$(call objects,$$(SOURCES_$(1))) $(if $(filter proto,$(1)),$(GENERATED:.c=.o))
	@mkdir -p $$(@D)
	rm -f $$@ && $$(AR) rcs $$@ $$^
endef
$(foreach room,$(ROOMS),$(eval $(call room_rule,$(room))))

libraries = $(foreach room,$(LINK_$(1)),$(call library,$(room)))

$(BUILD)/bin/mqnamesrv: $(BUILD)/namesrv/main.o $(call libraries,namesrv)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/bin/mqbroker: $(BUILD)/broker/main.o $(call libraries,proc)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/bin/%: $(BUILD)/tools/%.o $(call libraries,client)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

# --- unit tests: test/unit/<room>/t_*.c, each linked with its room and those below only --------

UNIT_TESTS := $(patsubst test/%.c,$(BUILD)/test/%,$(wildcard test/unit/*/t_*.c))

define unit_rule
$(BUILD)/test/unit/$(1)/%: $(BUILD)/test/unit/$(1)/%.o $(call libraries,$(1))
	$$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ -lcmocka $$(LDLIBS)
endef
$(foreach room,$(ROOMS),$(eval $(call unit_rule,$(room))))

unit-tests: $(UNIT_TESTS)

check: unit-tests tidy
	sh test/run unit

# --- fuzz targets: test/fuzz/f_*.c --------------------------------------------------------------

FUZZ_SECONDS ?= 30
FUZZERS := $(patsubst test/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard test/fuzz/f_*.c))

$(BUILD)/fuzz/%: test/fuzz/%.c $(call libraries,store)
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(if $(FUZZ_MAIN),$(FUZZ_MAIN),-fsanitize=fuzzer) -o $@ $(filter %.c %.a,$^) $(LDLIBS)

fuzzers: $(FUZZERS)

fuzz:
	$(MAKE) BUILD=build-fuzz CC=clang SANITIZE=address,undefined CFLAGS='-O1 -g -fsanitize=fuzzer-no-link' fuzzers
	sh test/fuzz/run build-fuzz/fuzz $(FUZZ_SECONDS)

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

# --- install ------------------------------------------------------------------------------------

install: all
	sh bin/install-files '$(BUILD)' '$(DESTDIR)$(PREFIX)'

clean:
	rm -rf $(BUILD) build-asan build-tsan build-fuzz

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
