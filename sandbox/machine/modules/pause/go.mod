module taskqueue.dev/sandbox/pause

go 1.24
