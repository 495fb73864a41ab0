package main

import (
	"context"

	"tilegate/configs"
	"tilegate/proxy/origin"
)

// originRule returns the rule that package origin makes of a configuration, so that its faults are reported
// together with the others. What the file lacks may be in AWS's variables and shared files, which origin.New
// reads; it asks neither S3 nor STS.
func originRule(ctx context.Context) configs.Rule {
	return func(c *configs.Config) []configs.Fault {
		_, err := origin.New(ctx, originOptions(c))
		if err == nil {
			return nil
		}
		faults, _ := originFaults(c, err)
		return faults // newService reports what has no key
	}
}
