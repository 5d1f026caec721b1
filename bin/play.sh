#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Starts a name server and a broker beside it in the background, with their default options, as
# RocketMQ's script of this name does. bin/quickstart does more: it checks that messages flow.

bin=$(dirname "$(readlink -f "$0")")
nohup sh "$bin/mqnamesrv" >/dev/null 2>&1 &
echo "mqnamesrv started, process $!; log: ~/logs/rocketmqlogs/namesrv.log"
nohup sh "$bin/mqbroker" -n localhost:9876 >/dev/null 2>&1 &
echo "mqbroker started, process $!; log: ~/logs/rocketmqlogs/broker.log"
echo "stop them: sh $bin/mqshutdown broker; sh $bin/mqshutdown namesrv"
