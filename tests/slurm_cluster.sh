# Sourced by test_slurm.sh: a Slurm cluster of its own on this machine, in a folder, without touching the system's.
#   cluster_start FOLDER   two nodes of 4 cores and 4 GPUs (that are none), each with its own host name; sets SLURM_CONF.
#                          Partitions: normal, and low, whose jobs it preempts
#   cluster_stop
# Needs root: nodes get names of their own by namespaces, and run tasks as their user.
# shellcheck shell=bash

cluster=""
nodes="node1 node2"

# until_true SECONDS COMMAND...: tries until it succeeds
until_true() {
    local tenths
    for ((tenths = 0; tenths < 10 * $1; tenths++)); do
        "${@:2}" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

write_configuration() {
    local base=$((20000 + $$ % 20000)) node
    cat >"$cluster/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
SlurmdUser=root
# a requeued job starts again no sooner than credentials of its last start have expired
AuthInfo=socket=$cluster/munge.socket,cred_expire=5
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool-%n
# PMIx keeps files there under names that nodes of one machine would share
TmpFS=$cluster/tmp-%n
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/%n.pid
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdLogFile=$cluster/%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
GresTypes=gpu
END
    for node in $nodes; do
        base=$((base + 1))
        mkdir -p "$cluster/spool-$node" "$cluster/tmp-$node"
        chmod 1777 "$cluster/tmp-$node"
        echo "NodeName=$node NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$base CPUs=4 Gres=gpu:4 State=UNKNOWN" \
            >>"$cluster/slurm.conf"
        echo "127.0.0.1 $node" >>"$cluster/hosts"
        # the devices behind gres only have to be devices
        echo "NodeName=$node Name=gpu File=$cluster/gpu[0-3]" >>"$cluster/gres.conf"
    done
    cat >>"$cluster/slurm.conf" <<END
PartitionName=normal Nodes=ALL Default=YES PriorityTier=2
PartitionName=low Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
END
    for node in 0 1 2 3; do ln -s /dev/null "$cluster/gpu$node"; done
    echo "AutoDetect=off" >>"$cluster/gres.conf"
    : >"$cluster/cgroup.conf"
}

nodes_idle() { [ "$(sinfo -h -p normal -t idle -o %D)" = 2 ]; }

cluster_start() {
    local node
    cluster=$1
    mkdir -m 755 -p "$cluster/state" || return 1
    cp /etc/hosts "$cluster/hosts"
    write_configuration
    export SLURM_CONF=$cluster/slurm.conf
    (umask 077; head -c 1024 /dev/urandom >"$cluster/munge.key")
    munged --force --key-file="$cluster/munge.key" --socket="$cluster/munge.socket" --pid-file="$cluster/munged.pid" \
        --log-file="$cluster/munged.log" --seed-file="$cluster/munge.seed" 2>>"$cluster/munged.log" || return 1
    slurmctld -c 2>>"$cluster/slurmctld.log" || return 1
    for node in $nodes; do
        # shellcheck disable=SC2016
        unshare --uts --mount sh -c 'hostname "$1" && mount --bind "$2/hosts" /etc/hosts && exec slurmd -N "$1"' \
            sh "$node" "$cluster" 2>>"$cluster/$node.log" || return 1
    done
    until_true 30 nodes_idle
}

cluster_stop() {
    local file pids=() pid
    [ -n "$cluster" ] || return 0
    scancel --quiet --full -u "$(id -un)" 2>/dev/null
    until_true 20 eval '[ -z "$(squeue -h)" ]'
    for file in "$cluster"/node*.pid "$cluster/slurmctld.pid" "$cluster/munged.pid"; do
        [ ! -s "$file" ] || pids+=("$(cat "$file")")
    done
    for pid in $(pgrep -x slurmstepd); do # a step that did not end, and its tasks
        # shellcheck disable=SC2207
        case "$(readlink "/proc/$pid/cwd")" in "$cluster"*) pids+=($(pgrep -P "$pid") "$pid") ;; esac
    done
    [ ${#pids[@]} -eq 0 ] || kill -KILL "${pids[@]}" 2>/dev/null
    cluster=""
}
