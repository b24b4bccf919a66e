# Reads what to do when the pipe on standard input closes, that is, when the program that started us has ended.
trap '' INT TERM HUP
directories=
homes=
newline='
'
while IFS= read -r line; do
    what=${line#* }
    case $line in
    "remove "*) directories=$directories$what$newline ;;
    "end "*) homes=$homes$what$newline ;;
    "keep "*) directories=$(printf %s "$directories" | grep -vxF -- "$what")$newline ;;
    esac
done

end_all() {
    found=
    for process in /proc/[0-9]*; do
        if tr '\0' '\n' <"$process/environ" | grep -qxF -e "HOME=$1" -e "VK_CMD_E2E_SITE=$1"; then
            kill -9 "${process#/proc/}" && found=yes
        fi
    done
    [ -n "$found" ]
}
printf %s "$homes" | while IFS= read -r home; do
    [ -n "$home" ] || continue
    for _ in 1 2 3 4 5; do
        end_all "$home" || break
        sleep 0.1
    done
done

# The programs that write there get their KILL at the same moment as we get the end of the pipe: try again if one is still at it.
printf %s "$directories" | while IFS= read -r directory; do
    [ -n "$directory" ] || continue
    for _ in 1 2 3 4 5; do
        rm -rf -- "$directory" && break
        sleep 0.5
    done
done
