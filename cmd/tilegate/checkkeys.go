package main

import (
	"context"
	"log/slog"

	"tilegate/auth"
	"tilegate/configs"
)

// keySetCheck says what is wrong with one issuer's key set.
type keySetCheck struct {
	issuer string
	faults []string
}

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
		checks = append(checks, check)
	}
	return checks, nil
}
