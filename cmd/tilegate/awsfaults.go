package main

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"tilegate/configs"
	"tilegate/proxy/origin"
)

// awsFaults tells at its key what keeps a valid configuration from S3 and STS. What it lacks may be in
// AWS's variables and shared files, so the SDK is asked, and nobody else. What has no key is left for
// origin.New to tell.
func awsFaults(ctx context.Context, c *configs.Config) error {
	sdk, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(c.AWS.Region), awsconfig.WithLogger(logging.Nop{}))
	if err != nil {
		return nil // no key's fault
	}
	options := originOptions(c)
	ownS3 := c.AWS.Endpoint != "" || s3.NewFromConfig(sdk).Options().BaseEndpoint != nil
	ownSTS := c.AWS.STSEndpoint != "" || sts.NewFromConfig(sdk).Options().BaseEndpoint != nil
	var faults []configs.Fault
	if sdk.Region == "" && !ownS3 {
		faults = append(faults, c.Fault("aws.region", "is not set, nor is AWS_REGION, nor a region in the shared files' profile", "write eu-central-1"))
	}
	if ownS3 && !ownSTS && assumesRole(options) {
		faults = append(faults, c.Fault("aws.sts_endpoint", "is required by a role where S3 is not AWS's",
			"often it is the same URL; write https://sts.REGION.amazonaws.com when aws.endpoint leads to AWS after all"))
	}
	if len(faults) == 0 {
		faults = policyFaults(ctx, c, options)
	}
	if len(faults) == 0 {
		return nil
	}
	slices.SortStableFunc(faults, func(a, b configs.Fault) int { return cmp.Compare(a.Line, b.Line) })
	return usageError{&configs.Error{Faults: faults}}
}

func assumesRole(o origin.Options) bool {
	for _, s := range o.Sources {
		if s.Role.ARN != "" {
			return true
		}
	}
	return false
}

// policyFaults finds the roles whose session policy cannot be: those that would do without one.
func policyFaults(ctx context.Context, c *configs.Config, o origin.Options) (faults []configs.Fault) {
	if _, err := origin.New(ctx, o); err == nil {
		return nil
	}
	keys := roleKeys(c)
	var names []string // of roles, in the file's order
	byRole := map[string][]origin.Source{}
	for _, s := range o.Sources {
		name := fmt.Sprintf("%#v", s.Role) // sources with equal roles share a session
		if byRole[name] == nil {
			names = append(names, name)
		}
		byRole[name] = append(byRole[name], s)
	}
	for _, name := range names {
		o.Sources = byRole[name]
		_, err := origin.New(ctx, o)
		if err == nil {
			continue
		}
		for i := range o.Sources {
			o.Sources[i].Role.ScopeDown = false
		}
		if _, without := origin.New(ctx, o); without == nil {
			faults = append(faults, c.Fault(keys[o.Sources[0].ID]+".scope_down", err.Error(), ""))
		}
	}
	return faults
}

// roleKeys tells for each source which key its role is from.
func roleKeys(c *configs.Config) map[string]string {
	keys := map[string]string{}
	for _, t := range c.Tilesets {
		keys[t.ID] = "aws.role"
		if !reflect.DeepEqual(t.Role, c.AWS.Role) {
			keys[t.ID] = "tilesets." + t.ID + ".role"
		}
	}
	for _, f := range c.Files {
		keys["file:"+f.ID] = "aws.role"
	}
	return keys
}
