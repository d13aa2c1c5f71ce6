// The process that holds a pod's namespaces, and a probe for what a pod can reach.
//
//	pause                     waits until it is told to end
//	pause dial HOST:PORT ...  resolves each name, connects, prints what it reached; exits 1 if one
//	                          fails
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "dial" {
		dial(os.Args[2:])
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

func dial(targets []string) {
	failed := false
	for _, target := range targets {
		connection, err := net.DialTimeout("tcp", target, 5*time.Second)
		if err != nil {
			fmt.Printf("%s: %v\n", target, err)
			failed = true
			continue
		}
		fmt.Printf("%s: reached %s\n", target, connection.RemoteAddr())
		connection.Close()
	}
	if failed {
		os.Exit(1)
	}
}
