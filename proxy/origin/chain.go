package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// baseCredentials reads the SDK's chain anew at each call: environment, shared files, SSO, container and
// instance metadata. It caches nothing, as the credentialCache does that; so a change by an operator counts.
// https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
func (st *store) baseCredentials(ctx context.Context) (aws.Credentials, error) {
	switch {
	case st.Base != nil:
		return st.Base(ctx)
	case st.AccessKeyID != "":
		return aws.Credentials{AccessKeyID: st.AccessKeyID, SecretAccessKey: st.SecretAccessKey, SessionToken: st.SessionToken, Source: "configuration"}, nil
	}
	process := &credentialProcess{}
	cfg, err := config.LoadDefaultConfig(ctx, append(st.loadOptions(),
		config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) { st.adaptProfileRole(o, process) }),
		// The expiry is the one that the source states. The SDK tells an earlier one, so that its cache refreshes in
		// time; this package's cache does that by itself, and lives through an outage to the true end.
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 0 }),
		config.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) { o.Client = st.sts }),
	)...)
	if err != nil {
		return aws.Credentials{}, &fault{class: tile.ErrNoCredentials, text: sanitizeTo(err.Error(), maxCauses)}
	}
	provider := cfg.Credentials
	process.command = innermost(sharedConfig(cfg)).CredentialProcess
	if isProcess(provider) {
		provider = process.provider()
	}
	creds, err := provider.Retrieve(ctx)
	if err != nil {
		text := err.Error()
		if line := process.said.String(); line != "" {
			text += ": " + line
		}
		return creds, &fault{class: tile.ErrNoCredentials, text: sanitizeTo(text, maxCauses), hint: chainHint(cfg, err)}
	}
	if creds.Source == ec2rolecreds.ProviderName {
		creds = extended(creds, time.Now(), 0)
	}
	return creds, nil
}

// extended gives credentials of an instance that live for less than some time another few minutes: while the metadata
// service has no new ones, AWS accepts the old ones (static stability).
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-static-credentials.html
func extended(creds aws.Credentials, now time.Time, least time.Duration) aws.Credentials {
	if creds.CanExpire && creds.Expires.Sub(now) <= least {
		creds.Expires = now.Add(jitter(maxExtension, 1./3, 1))
	}
	return creds
}

// maxExtension is the longest life of expired credentials before they are asked for again. The SDK's is the same.
const maxExtension = 15 * time.Minute

// maxCauses bounds the text of a chain of causes.
const maxCauses = 1000

func isProcess(p aws.CredentialsProvider) bool {
	return p != nil && aws.IsCredentialsProvider(p, (*processcreds.Provider)(nil))
}

// credentialProcess is the command of a profile's credential_process.
type credentialProcess struct {
	command string
	said    firstLine // on its standard error
}

// provider runs the command as the SDK does, and keeps what it says.
func (p *credentialProcess) provider() aws.CredentialsProvider {
	return processcreds.NewProviderCommand(processcreds.NewCommandBuilderFunc(func(ctx context.Context) (*exec.Cmd, error) {
		cmd, err := processcreds.DefaultNewCommandBuilder{Args: []string{p.command}}.NewCommand(ctx)
		if err == nil {
			cmd.Stderr = &p.said
		}
		return cmd, err
	}))
}

// profileSTS calls STS for the role of a profile (role_arn) as this store's options say.
type profileSTS struct {
	stscreds.AssumeRoleAPIClient
	change func(*sts.Options)
}

func (c profileSTS) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput, options ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	return c.AssumeRoleAPIClient.AssumeRole(ctx, in, append(options, c.change)...)
}

// adaptProfileRole makes a profile's role_arn use STSEndpoint, and listens to the credential_process of its source_profile,
// which is known by the time of the call.
func (st *store) adaptProfileRole(o *stscreds.AssumeRoleOptions, process *credentialProcess) {
	client, ok := o.Client.(*sts.Client)
	if !ok { // the SDK only looks whether the options are complete
		return
	}
	base := client.Options().Credentials
	o.Client = profileSTS{client, func(o *sts.Options) {
		if st.STSEndpoint != "" {
			o.BaseEndpoint = &st.STSEndpoint
		}
		if isProcess(base) {
			o.Credentials = process.provider()
		}
	}}
}

// sharedConfig is the profile of the shared files that is in use.
func sharedConfig(cfg aws.Config) config.SharedConfig {
	for _, source := range cfg.ConfigSources {
		if shared, ok := source.(config.SharedConfig); ok {
			return shared
		}
	}
	return config.SharedConfig{}
}

// innermost is the profile at the end of a chain of source_profile.
func innermost(shared config.SharedConfig) config.SharedConfig {
	for shared.Source != nil {
		shared = *shared.Source
	}
	return shared
}

// firstLine keeps the beginning of what is written to it, and passes nothing on.
type firstLine struct {
	mu   sync.Mutex
	text []byte
}

func (l *firstLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 300
	l.text = append(l.text, p[:min(len(p), most-len(l.text))]...)
	return len(p), nil
}

func (l *firstLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(string(l.text)), "\n")
	return strings.TrimSpace(line)
}

// chainHint says what to do about a failure of the default chain.
func chainHint(cfg aws.Config, err error) string {
	var process *processcreds.ProviderError
	shared := sharedConfig(cfg)
	profile := cmp.Or(shared.Profile, "default")
	is := func(p aws.CredentialsProvider) bool {
		return cfg.Credentials != nil && aws.IsCredentialsProvider(cfg.Credentials, p)
	}
	switch hint := connectionHint(err); {
	case is((*ssocreds.Provider)(nil)) && tokenGone(err):
		return fmt.Sprintf("nobody is logged in to SSO for profile %s: run `aws sso login --profile %s`", profile, profile)
	case errors.As(err, &process):
		return fmt.Sprintf("credential_process of profile %s failed: run it by hand", cmp.Or(innermost(shared).Profile, "default"))
	case is((*ec2rolecreds.Provider)(nil)) && errors.Is(err, context.DeadlineExceeded):
		return "the instance metadata do not answer: in a container they need a hop limit of 2 (http-put-response-hop-limit); elsewhere set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
	case is((*endpointcreds.Provider)(nil)):
		return "the container's credentials endpoint does not answer: look at AWS_CONTAINER_CREDENTIALS_FULL_URI, and at the agent that serves it"
	case hint != "":
		return hint
	}
	return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine or pod a role; a public bucket needs anonymous: true"
}

// tokenGone reports whether the cached token of an SSO session is not there or has expired.
func tokenGone(err error) bool {
	var invalid *ssocreds.InvalidTokenError
	return errors.As(err, &invalid) || errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "SSO token")
}
