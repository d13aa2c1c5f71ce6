// CoreDNS with the plugins that the sandbox's Corefile names, and no other: the Corefile is in
// config.rs. All of upstream's plugins bring the SDKs of five clouds with them. The order of the
// plugins in a server block is upstream's.
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	coremain.Run()
}
