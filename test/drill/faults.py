# SPDX-License-Identifier: Apache-2.0
"""The faults of drills. A fault is a function of the run (run.py) and of the group that is hit; it breaks
something, looks at what must hold meanwhile, mends it, and returns when clients are well again. Its first
line of documentation is what --list shows.
"""
import time

import ledger
from cluster import wait_until

FAULTS = {}
EMPTY_S = 14  # a slave asks its master for topics, groups and offsets every 10 s
UNSAFE = (ledger.NO_SLAVE, ledger.FLUSH_SLAVE_TIMEOUT)
HOLD_S = 4


class Fault:
    def __init__(self, run, rounds, cuts, small_disks, ours_only, java):
        self.run, self.rounds, self.java = run, rounds, java
        self.cuts, self.small_disks, self.ours_only = cuts, small_disks, ours_only
        self.name = run.__name__.replace("_", "-")
        self.summary = run.__doc__.split("\n", 1)[0]


def fault(rounds=2, cuts=False, small_disks=False, ours_only=False, java=False):
    """
    rounds       of a run that does not say how many
    cuts         hosts must be namespaces
    small_disks  brokers have small file systems of their own
    ours_only    Apache's servers are known not to do that
    java         Apache's Java client takes part
    """
    def enter(function):
        one = Fault(function, rounds, cuts, small_disks, ours_only, java)
        FAULTS[one.name] = one
        return function
    return enter


@fault(rounds=5)
def kill_master(run, group):
    """kill -9 of a master: what was answered SEND_OK is on the slave, consumers go on there

    In every other round the slave is frozen just before, so that nothing can come to it after the kill.
    In the others consumers are held before, so that they have something left to read on the slave."""
    master, slave = run.cluster.master(group), run.cluster.slave(group)
    held = run.round % 2 == 0
    before = run.read_from(group, 1)
    if held:
        run.hold_consumers()
        run.await_sends(group)
    run.fault("kill-master", group, held=held)
    if not held:
        slave.freeze()
    master.kill()
    run.check_slave(group)
    if held:
        run.release_consumers()
    else:
        slave.thaw()
    run.await_read(group)
    if held and run.read_from(group, 1) == before:
        run.complain("reads", "consumers have read nothing from the slave")
    master.start()
    run.await_sends(group)
    run.healed()


@fault(rounds=1)
def offsets(run, group):
    """A consumer that starts while the master is dead is told by the slave where its group was"""
    master, slave = run.cluster.master(group), run.cluster.slave(group)
    run.await_read(group)
    before = run.position(group)
    wait_until(lambda: reached(run.committed(slave), before), "the slave has the offsets %s" % before)
    run.fault("offsets", group)
    master.kill()
    told, after = run.committed(slave), run.position(group)
    if not reached(told, before) or not reached(after, told):
        run.complain("offset", "the slave tells %s; the group was at %s, now at %s", told, before,
                     after)
    run.await_read(group)
    master.start()
    run.await_sends(group)
    run.healed()


def reached(offsets, others):
    return all(offsets[queue] >= offset for queue, offset in others.items())


@fault(java=True)
def java_clients(run, group):
    """kill -9 of a master under Apache's Java client: it sends to the other group, reads from the slave"""
    master = run.cluster.master(group)
    run.hold_consumers()
    run.await_lane("jp-roaming", group)
    run.fault("java-clients", group, held=True, lane="jp-roaming")
    master.kill()
    run.check_slave(group)
    for other in run.cluster.groups:
        if other != group:
            run.await_lane("jp-roaming", other)
    run.release_consumers()
    run.await_read(group)
    master.start()
    run.await_lane("jp-roaming", group)
    run.healed()


@fault()
def kill_slave(run, group):
    """kill -9 of a slave: sends are answered that no slave has them, then SEND_OK again"""
    slave = run.cluster.slave(group)
    run.fault("kill-slave", group)
    slave.kill()
    run.await_codes(group, UNSAFE)
    run.check_slave(group)
    slave.start()
    run.await_sends(group)
    run.check_slave(group)
    run.healed()


@fault()
def kill_both(run, group):
    """kill -9 of a master and its slave at once, and both come back: nothing is lost, the two agree"""
    master, slave = run.cluster.master(group), run.cluster.slave(group)
    run.fault("kill-both", group)
    for broker in (master, slave):
        broker.process.kill()
    for broker in (master, slave):
        broker.kill()
    run.check_slave(group)
    for broker in (slave, master):
        broker.start()
    run.await_sends(group)
    run.check_slave(group)
    run.healed()


@fault()
def freeze_master(run, group):
    """SIGSTOP of a master for some seconds: it loses nothing and goes on"""
    master = run.cluster.master(group)
    run.fault("freeze-master", group)
    master.freeze()
    run.check_slave(group)
    time.sleep(HOLD_S)
    run.await_read(group)
    master.thaw()
    run.await_sends(group)
    run.healed()


@fault()
def freeze_slave(run, group):
    """SIGSTOP of a slave: answers say that it did not take part, and nothing hangs"""
    slave = run.cluster.slave(group)
    run.fault("freeze-slave", group)
    slave.freeze()
    run.check_slave(group)
    run.await_codes(group, UNSAFE)
    slave.thaw()
    run.await_sends(group)
    run.check_slave(group)
    run.healed()


@fault(cuts=True)
def cut_master(run, group):
    """The cable of a master is pulled for some seconds: no packet, no word"""
    name = run.cluster.master(group).host
    run.fault("cut-master", group)
    run.hosts.cut(name)
    run.check_slave(group)
    time.sleep(HOLD_S)
    run.await_read(group)
    run.hosts.join(name)
    run.await_sends(group)
    run.check_slave(group)
    run.healed()


@fault(cuts=True)
def cut_slave(run, group):
    """The cable of a slave is pulled: as a frozen one, and it catches up"""
    name = run.cluster.slave(group).host
    run.fault("cut-slave", group)
    run.hosts.cut(name)
    run.check_slave(group)
    run.await_codes(group, UNSAFE)
    time.sleep(HOLD_S)
    run.hosts.join(name)
    run.await_sends(group)
    run.check_slave(group)
    run.healed()


def one_way(run, group, name, sender, receiver):
    run.fault(name, group)
    run.hosts.cut_one_way(sender.host, receiver.host)
    run.check_slave(group)
    run.await_codes(group, UNSAFE)
    time.sleep(HOLD_S)
    run.hosts.join_one_way(sender.host, receiver.host)
    run.await_sends(group)
    run.check_slave(group)
    run.healed()


@fault(cuts=True)
def one_way_to_slave(run, group):
    """Packets of the master do not reach its slave, those of the slave come"""
    one_way(run, group, "one-way-to-slave", run.cluster.master(group), run.cluster.slave(group))


@fault(cuts=True)
def one_way_to_master(run, group):
    """Packets of the slave (its reports) do not reach the master, those of the master come"""
    one_way(run, group, "one-way-to-master", run.cluster.slave(group), run.cluster.master(group))


def registered(run):
    """All name servers know all brokers."""
    wait_until(lambda: all(len(server.broker_addresses()) == len(run.cluster.brokers)
                           for server in run.cluster.name_servers),
               "all brokers are registered again")


@fault()
def name_servers(run, _):
    """Name servers are killed and come back: one after another, then all at once; nobody notices"""
    run.fault("name-servers")
    for server in run.cluster.name_servers:
        server.kill()
        run.await_all_sends()
        server.start()
    for server in run.cluster.name_servers:
        server.kill()
    run.await_all_sends()
    for server in run.cluster.name_servers:
        server.start()
    registered(run)
    run.await_all_sends()
    run.healed()


@fault(small_disks=True)
def disk_full_master(run, group):
    """The disk of a master is full: it refuses, keeps what it has, and takes messages when there is room"""
    master = run.cluster.master(group)
    run.fault("disk-full-master", group)
    master.fill_disk()
    run.check_slave(group)
    refused = len([one for one in run.tail.events if one["e"] == "failed"])
    wait_until(lambda: len([one for one in run.tail.update().events if one["e"] == "failed"])
               > refused + 5, "the master refuses messages")
    run.await_read(group)
    master.free_disk()
    run.await_sends(group)
    run.check_slave(group)
    run.healed()


@fault(small_disks=True)
def disk_full_slave(run, group):
    """The disk of a slave is full: answers say so, and it catches up when there is room"""
    slave = run.cluster.slave(group)
    run.fault("disk-full-slave", group)
    slave.fill_disk()
    run.await_codes(group, UNSAFE)
    run.check_slave(group)
    slave.free_disk()
    run.await_sends(group)
    run.check_slave(group)
    run.healed()


@fault(rounds=1)
def rolling_restart(run, _):
    """Everything is restarted, one daemon at a time: name servers, slaves, masters"""
    run.fault("rolling-restart")
    brokers = sorted(run.cluster.brokers.values(), key=lambda one: -one.number)
    for node in run.cluster.name_servers + brokers:
        node.stop()
        node.start()
        registered(run)
        run.await_all_sends()
    for group in run.cluster.groups:
        run.check_slave(group)
    run.healed()


@fault(rounds=1, ours_only=True)
def rebuild_slave(run, group):
    """A slave loses its disk: it gets everything again from its master"""
    slave = run.cluster.slave(group)
    run.fault("rebuild-slave", group)
    slave.kill()
    slave.wipe()
    run.on_slave[group] = type(run.on_slave[group])(run.on_slave[group].topic)
    run.checked[group] = 0
    slave.start()
    run.await_sends(group)
    run.check_slave(group)
    run.healed()


@fault(rounds=1, ours_only=True)
def rebuild_master(run, group):
    """A master loses its disk: started empty it harms nothing; with a copy of its slave's it goes on"""
    master, slave = run.cluster.master(group), run.cluster.slave(group)
    run.fault("rebuild-master", group)
    master.kill()
    master.wipe()
    master.start()
    time.sleep(EMPTY_S)
    run.check_slave(group)
    before = run.content(slave).messages
    for one in run.tail.update().acked[group]:
        if (one["queue"], one["offset"]) not in before:
            run.complain("slave", "%s is gone from the slave of an empty master", one["id"])
            break
    master.stop()
    slave.stop()
    master.copy_disk(slave)
    master.start()
    slave.start()
    run.await_sends(group)
    run.check_slave(group)
    run.healed()
