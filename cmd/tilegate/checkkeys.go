package main

import (
	"context"
	"fmt"
	"log/slog"

	"tilegate/auth"
	"tilegate/configs"
)

// keySetCheck says what is wrong with one issuer's key set.
type keySetCheck struct {
	issuer  string
	faults  []string
	ignored []string // why keys of it are not used, a line each
}

// maxIgnored bounds how many lines there are for the unused keys of one set.
const maxIgnored = 20

// checkKeySets fetches the key set of each issuer that has one to fetch.
func checkKeySets(ctx context.Context, config *configs.Config) ([]keySetCheck, error) {
	a, err := auth.New(authOptions(config, slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	var checks []keySetCheck
	for _, status := range a.FetchKeySets(ctx) {
		check := keySetCheck{issuer: status.Issuer}
		if status.Err != nil {
			check.faults = []string{status.Err.Error()}
		}
		for i, key := range status.Ignored {
			if i == maxIgnored {
				check.ignored = append(check.ignored, fmt.Sprintf("and %d more keys are not used", len(status.Ignored)-i))
				break
			}
			check.ignored = append(check.ignored, fmt.Sprintf("key %q is not used: %s", key.ID, key.Reason))
		}
		checks = append(checks, check)
	}
	return checks, nil
}
