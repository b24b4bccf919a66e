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
