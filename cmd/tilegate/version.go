package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by the linker in release builds (-X main.version=… -X main.commit=…).
var (
	version = ""
	commit  = ""
)

type versionCommand struct{}

// Run prints version, commit and Go version.
func (versionCommand) Run(c *console) error {
	v, revision := build()
	_, err := fmt.Fprintf(c.out, "tilegate %s, commit %s, %s\n", v, revision, runtime.Version())
	return err
}

// build returns the version and the commit of this program.
func build() (v, revision string) {
	v, revision = version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && revision == "" {
				revision = s.Value
			}
		}
	}
	if v == "" {
		v = "(devel)"
	}
	if revision == "" {
		revision = "unknown"
	}
	return v, revision
}
