#!/bin/sh
PILOT='f-7'
PILOT_NAME='vk-f-7-f34961d3c6'
PILOT_NODES=1
PILOT_SECONDS=3599
PILOT_POLL=1
PILOT_DIRECTORY=${HOME:?}/.vk-cmd/pilots
PILOT_TEXT='unset JOBNAME NODENAME KUBECONFIG KUBELET_PORT VKUBELET_POD_IP JIRIAF_WALLTIME JIRIAF_SITE JIRIAF_NODETYPE VK_NODE_CONFIG VK_NODE_HOSTPIPE VK_NODE_RECORDS VK_NODE_CGROUP VK_NODE_SITE VK_NODE_BOOTSTRAP_KUBECONFIG VK_CMD_TERMINATION_LOG TRACEPARENT KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT
PILOT_INDEX=0
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
find_it() {
    found=$(squeue --noheader --states=all --user="$(id -u)" --name="$PILOT_NAME" --format=%F) || return 1
    printf '%s\n' "$found" | tr -d ' ' | sort -n | tail -n 1
}

# --parsable: ID, or ID;CLUSTER.
id_in() {
    tail -n 1 | cut -d ';' -f 1 | tr -cd '0-9'
}

state_of() {
    if ! seen=$(squeue --noheader --states=all --jobs="$PILOT_ID" --format='%T %M %r' 2>&1); then
        case $seen in
        *'Invalid job id'*) seen= ;;
        *) printf '%s\n' "$seen" >&2; return 1 ;;
        esac
    fi
    # Slurm forgets a job five minutes after its end, but for the accounting, which not every site has.
    if [ -z "$seen" ]; then
        seen=$(sacct --noheader --parsable2 --delimiter=' ' --allocations --jobs="$PILOT_ID" --format=State%20,Elapsed 2>/dev/null)
    fi
    if [ -z "$seen" ]; then echo gone; return; fi
    printf '%s\n' "$seen" | (
        alive= bad= ended= removed= held=
        while read -r word elapsed rest; do
            case $word in
            COMPLETED | TIMEOUT | PREEMPTED | DEADLINE | REVOKED) ended=$word ;;
            FAILED | NODE_FAIL | BOOT_FAIL | OUT_OF_MEMORY | LAUNCH_FAILED) bad=$word ;;
            CANCELLED*)
                # sacct says by whom: CANCELLED by UID ELAPSED.
                if [ "$elapsed" = by ]; then elapsed=${rest##* }; fi
                case $elapsed in
                *[1-9]*) ended=CANCELLED ;;
                *) removed=$word ;;
                esac
                ;;
            RUNNING | COMPLETING | SUSPENDED | STOPPED | SIGNALING | RESIZING | STAGE_OUT) alive=running ;;
            # A word that is not known is no end.
            *)
                case $rest in
                # Its prolog has failed, say.
                launch*failed*held*) held=$rest ;;
                *[Hh]eld*) alive=${alive:-waiting, for it is held: $rest} ;;
                *) alive=${alive:-waiting} ;;
                esac
                ;;
            esac
        done
        # Of several, those that run go on.
        if [ -n "$held" ] && [ "$alive" != running ]; then echo "held: $held"
        elif [ -n "$alive" ]; then echo "$alive"
        elif [ -n "$bad" ]; then echo "failed: $bad"
        elif [ -n "$ended" ]; then echo "ended: $ended"
        else echo removed
        fi
    )
}

# By its name too: it may have been submitted without our having heard its number.
cancel() {
    scancel --user="$(id -u)" --name="$PILOT_NAME" && scancel "$PILOT_ID" 2>/dev/null
    # That there is nothing left to cancel is no trouble.
    squeue --noheader --user="$(id -u)" --name="$PILOT_NAME" >/dev/null
}

submit() {
    sbatch --parsable --export=ALL --open-mode=append \
        --job-name="$PILOT_NAME" --chdir="$PILOT_HOME" --output="$PILOT_LOG" \
        --time=60 \
        --no-requeue \
        --nodes=1 --ntasks=1 \
        --signal=B:USR1@120 \
        '--partition=gpu' \
        '--account=m1' \
        '--constraint=it'\''s $HOME `id` "x" \ ; rm -rf / #' \
        '--gres=gpu:4' \
        "$PILOT_SCRIPT"
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
