# Answers one request on standard input; says whether the password was the right one.
right=0
while read -r line; do
    line=${line%?}
    [ -n "$line" ] || break
    case $line in
        [Aa]uthorization:\ Basic\ cHJvbWV0aGV1czpzZWNyZXQ=) right=1 ;;
    esac
done
body="answered_with_its_password $right"
printf 'HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n' \
    $((${#body} + 1)) "$body"
