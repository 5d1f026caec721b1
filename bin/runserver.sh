#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# For scripts written for RocketMQ, where `runserver.sh CLASS ARGUMENTS` starts a Java class with JVM
# options: starts mqnamesrv with the arguments. Options -Dtls.* are handed on in JAVA_OPT,
# as they stand; the class and other JVM options have no meaning here.

while [ $# -gt 0 ]; do
  case $1 in
  -Dtls.*)
    JAVA_OPT="${JAVA_OPT:-} $1"
    export JAVA_OPT
    shift
    ;;
  org.apache.rocketmq.* | -D* | -X* | -server) shift ;;
  *) break ;;
  esac
done
exec sh "$(dirname "$(readlink -f "$0")")/mqnamesrv" "$@"
