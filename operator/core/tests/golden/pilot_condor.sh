#!/bin/sh
PILOT='f-7'
PILOT_NAME='vk-f-7-f34961d3c6'
PILOT_NODES=1
PILOT_SECONDS=3599
PILOT_POLL=1
PILOT_DIRECTORY=${HOME:?}/.vk-cmd/pilots
PILOT_TEXT='unset JOBNAME NODENAME KUBECONFIG KUBELET_PORT VKUBELET_POD_IP JIRIAF_WALLTIME JIRIAF_SITE JIRIAF_NODETYPE VK_NODE_CONFIG VK_NODE_HOSTPIPE VK_NODE_RECORDS VK_NODE_CGROUP VK_NODE_SITE VK_NODE_BOOTSTRAP_KUBECONFIG VK_CMD_TERMINATION_LOG TRACEPARENT KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT
PILOT_INDEX=${1:-0}
module load vk
exec '\''vk-node'\'' run \
    --config '\''/home/me/node.yaml'\'' \
    --node-name '\''vk-f-7'\''"-$PILOT_INDEX" \
    --hostpipe "$PILOT_HOME/node-$PILOT_INDEX" \
    --label '\''vk-cmd.io/fleet=f'\'' \
    --label '\''vk-cmd.io/pilot=f-7'\'' \
    '\''--kubelet-port'\'' \
    '\''0'\''
'
PILOT_LINES='request_cpus = 8
requirements = Arch == "X86_64"
'
find_it() {
    found=$(condor_q -constraint "VkCmdPilot == \"$PILOT_NAME\"" -format '%d\n' ClusterId) || return 1
    if [ -z "$found" ]; then
        found=$(condor_history -limit 1 -constraint "VkCmdPilot == \"$PILOT_NAME\"" -format '%d\n' ClusterId) || return 1
    fi
    printf '%s\n' "$found" | sort -n | tail -n 1
}

# -terse: FIRST - LAST, each CLUSTER.PROCESS.
id_in() {
    tail -n 1 | sed 's/[^0-9].*//'
}

submit() {
    {
        printf '%s\n' 'universe = vanilla' "executable = $PILOT_SCRIPT" 'arguments = $(Process)' 'transfer_executable = false' \
            'should_transfer_files = NO' 'getenv = true' "output = $PILOT_LOG" "error = $PILOT_LOG" \
            "+VkCmdPilot = \"$PILOT_NAME\"" \
            "periodic_remove = JobStatus == 2 && time() - EnteredCurrentStatus > $PILOT_SECONDS"
        printf '%s' "$PILOT_LINES"
        printf 'queue %s\n' "$PILOT_NODES"
    } >"$PILOT_HOME/submit" && condor_submit -terse "$PILOT_HOME/submit"
}

# 1 idle, 2 running, 3 removed, 4 completed, 5 held, 6 transferring output, 7 suspended.
state_of() {
    seen=$(condor_q "$PILOT_ID" -format '%d\n' JobStatus) || return 1
    case $seen in
    *[267]*) echo running; return ;;
    # Somebody who holds it (1), or submits it so (15), means to release it; all else is a failure.
    *5*)
        why=$(condor_q "$PILOT_ID" -constraint 'JobStatus == 5' -format '%d ' HoldReasonCode -format '%s\n' HoldReason | head -n 1)
        case $why in
        '' | '1 '* | '15 '*) echo "waiting, for it is held: $why" ;;
        *) echo "held: $why" ;;
        esac
        return
        ;;
    *1*) echo waiting; return ;;
    esac
    seen=$(condor_history "$PILOT_ID" -limit "$PILOT_NODES" -format '%d ' JobStatus -format '%d ' ExitCode -format '%d' JobStartDate -format '\n' ClusterId) || return 1
    if [ -z "$seen" ]; then echo gone; return; fi
    printf '%s\n' "$seen" | (
        bad= ran=
        while read -r word code _; do
            case $word in
            4) if [ "$code" = 0 ]; then ran=yes; else bad=$code; fi ;;
            3) if [ -n "$code" ]; then ran=yes; fi ;;
            esac
        done
        if [ -n "$bad" ]; then echo "failed: $bad"
        elif [ -n "$ran" ]; then echo ended
        else echo removed
        fi
    )
}

cancel() {
    condor_rm -constraint "VkCmdPilot == \"$PILOT_NAME\"" || [ -z "$(condor_q "$PILOT_ID" -format '%d' JobStatus)" ]
}
# What follows is the same for all pilots of all batch systems. It is run again, from the beginning, whenever nobody knows how it
# ended, so that it never submits before it has looked for what it may have submitted.
#
#   (nothing) ── submit ──▶ waiting ──▶ running ──▶ ended: 0, failed: 10
#       │ refused: 11          │ TERM: cancel, and wait until it is gone: 0
#       ▼                      │ cancelled by others before it ran: 12
#                              │ held, because it could not be started: cancel, and wait until it is gone: 10
#
set -u
umask 077
PILOT_HOME=$PILOT_DIRECTORY/$PILOT
PILOT_SCRIPT=$PILOT_HOME/node.sh
PILOT_LOG=$PILOT_HOME/log
PILOT_ID=
cancelled=
held=
told=
sleeper=
# A signal ends a pause; what is under way otherwise is finished first.
trap 'cancelled=yes; [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null' TERM INT HUP

quoted() {
    printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"
}

pause() {
    sleep "$1" &
    sleeper=$!
    if [ -n "$cancelled" ] && [ -z "$told" ]; then kill "$sleeper" 2>/dev/null; fi
    wait "$sleeper"
    sleeper=
}

# finish CODE WORDS: what is said last is what the pilot's status shows.
finish() {
    printf '%s\n' "$2"
    if [ -n "${VK_CMD_TERMINATION_LOG:-}" ]; then printf '%s' "$2" | head -c 2000 >"$VK_CMD_TERMINATION_LOG"; fi
    if [ "$1" = 0 ]; then rm -rf "$PILOT_HOME"; fi
    exit "$1"
}

errors() {
    tail -n 5 "$PILOT_HOME/errors" 2>/dev/null | tail -c 800
}

# Nobody knows whether something was submitted as long as the batch system does not answer.
look_for_it() {
    until PILOT_ID=$(find_it 2>"$PILOT_HOME/errors"); do
        echo "the batch system does not answer, and is asked again: $(errors)"
        pause "$PILOT_POLL"
    done
}

mkdir -p "$PILOT_HOME" && { printf '#!/bin/sh\nPILOT_HOME=%s\n' "$(quoted "$PILOT_HOME")" && printf '%s' "$PILOT_TEXT"; } \
    >"$PILOT_SCRIPT.new" && chmod 700 "$PILOT_SCRIPT.new" && mv "$PILOT_SCRIPT.new" "$PILOT_SCRIPT" ||
    finish 11 "cannot write to $PILOT_HOME, where this pilot keeps what it knows"

if [ -s "$PILOT_HOME/id" ]; then
    read -r PILOT_ID <"$PILOT_HOME/id"
elif [ -e "$PILOT_HOME/submitting" ]; then
    look_for_it
fi
if [ -z "$PILOT_ID" ]; then
    if [ -n "$cancelled" ]; then finish 0 "cancelled before it was submitted"; fi
    : >"$PILOT_HOME/submitting" || finish 11 "cannot write to $PILOT_HOME, where this pilot keeps what it knows"
    # In a shell of its own that no signal ends half-way.
    if answer=$(trap '' TERM INT HUP; submit 2>"$PILOT_HOME/errors"); then
        PILOT_ID=$(printf '%s\n' "$answer" | id_in)
    fi
    if [ -z "$PILOT_ID" ]; then
        refusal="the batch system has not taken it: $(errors) $(printf '%s' "${answer:-}" | tail -n 3)"
        look_for_it
        if [ -z "$PILOT_ID" ]; then finish 11 "$refusal"; fi
    fi
fi
printf '%s\n' "$PILOT_ID" >"$PILOT_HOME/id.new" && mv "$PILOT_HOME/id.new" "$PILOT_HOME/id"
echo "submitted as $PILOT_ID, under the name $PILOT_NAME"

# Why it was held: it has been cancelled for that, or is about to be.
if [ -s "$PILOT_HOME/held" ]; then read -r held <"$PILOT_HOME/held"; fi

step=1
before=
while :; do
    if [ -n "$cancelled$held" ] && [ -z "$told" ]; then
        if cancel >"$PILOT_HOME/errors" 2>&1; then told=yes; else echo "cannot cancel it yet: $(errors)"; fi
        step=1
    fi
    # No answer is no end.
    state=$(state_of 2>"$PILOT_HOME/errors") || state="silent $(errors)"
    if [ "$state" != "$before" ]; then
        echo "$PILOT_ID: $state"
        before=$state
        step=1
    fi
    case $state in
    ended* | failed* | removed* | gone*) break ;;
    # It would wait for ever for somebody to release it.
    held*)
        if [ -z "$held" ]; then
            held=${state#held: }
            printf '%s\n' "$held" >"$PILOT_HOME/held.new" && mv "$PILOT_HOME/held.new" "$PILOT_HOME/held"
            continue
        fi
        ;;
    esac
    pause "$step"
    step=$((step * 2))
    if [ "$step" -gt "$PILOT_POLL" ]; then step=$PILOT_POLL; fi
done

if [ -n "$cancelled" ]; then finish 0 "cancelled: $PILOT_ID has $state"; fi
if [ -n "$held" ]; then
    finish 10 "the batch system could not start $PILOT_ID, held it ($held), and it was cancelled: ask the site's administrators what is wrong with the machine that it was to run on, if this comes again; the end of its output: $(tail -n 10 "$PILOT_LOG" 2>/dev/null | tail -c 1500)"
fi
case $state in
ended*) finish 0 "$PILOT_ID has $state" ;;
gone*) finish 0 "the batch system does not know $PILOT_ID any more, and not how it ended" ;;
removed*) finish 12 "$PILOT_ID was cancelled at the site before it began: by somebody there, or because its machine could not start it (a prolog that fails, say)" ;;
*) finish 10 "$PILOT_ID has $state; the end of its output: $(tail -n 10 "$PILOT_LOG" 2>/dev/null | tail -c 1500)" ;;
esac
