package shared

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options configures a Client.
type Options struct {
	Addresses []string // host:port of one server, or of some nodes of a cluster, or of the sentinels
	DB        int      // of one server, or of those that the sentinels know
	Cluster   bool
	Master    string // the name under which the sentinels know the server; "": there are none

	Username, Password string // of the servers
	SentinelUsername   string
	SentinelPassword   string
	TLS                bool
	CAPEM              []byte // the authorities of TLS, in PEM; none: those of the system

	Prefix string // of all keys in Redis; instances with different ones know nothing of each other
	// SigningKeys are those of the service, one at least. The first seals, all of them open.
	SigningKeys [][]byte
	Feeds       []Feed
	Tiles       *TileOptions  // nil: there is no second level of tiles
	Counts      *CountOptions // nil: each instance counts by itself what callers use

	Logger    *slog.Logger      // default: none
	OnFailure func(feed string) // called when Redis has failed a feed; it must not block
}

const (
	dialTimeout = time.Second
	callTimeout = 2 * time.Second
)

// connect makes the client of go-redis. It does not ask the server anything.
func (o *Options) connect() (redis.UniversalClient, error) {
	if len(o.Addresses) == 0 || len(o.SigningKeys) == 0 {
		return nil, errors.New("shared: an address and a signing key are required")
	}
	u := &redis.UniversalOptions{
		Addrs: o.Addresses, DB: o.DB, MasterName: o.Master, IsClusterMode: o.Cluster,
		Username: o.Username, Password: o.Password, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		// The feeds repeat what failed, at their own pace.
		MaxRetries: -1, DialerRetries: 1,
		DialTimeout: dialTimeout, ReadTimeout: callTimeout, WriteTimeout: callTimeout, PoolTimeout: callTimeout, ContextTimeoutEnabled: true,
	}
	if o.TLS {
		u.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if len(o.CAPEM) > 0 {
			u.TLSConfig.RootCAs = x509.NewCertPool()
			if !u.TLSConfig.RootCAs.AppendCertsFromPEM(o.CAPEM) {
				return nil, errors.New("shared: no certificate in the file of the authorities")
			}
		}
	}
	replyBytes := int64(minReplyBytes)
	if o.Tiles != nil {
		replyBytes = max(replyBytes, o.Tiles.MaxObject+2*maxHead)
	}
	u.Dialer = dial(u.TLSConfig, replyBytes)
	return redis.NewUniversalClient(u), nil
}

func (o Options) withDefaults() Options {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.OnFailure == nil {
		o.OnFailure = func(string) {}
	}
	return o
}

// libraryLog is where go-redis logs. Its logger is global, so that of the latest Client gets the lines of all.
var libraryLog struct {
	once   sync.Once
	logger atomic.Pointer[slog.Logger]
}

type libraryLogger struct{}

// Printf takes go-redis' own lines, of which there is one for each failed connection: the Client tells the same once.
func (libraryLogger) Printf(ctx context.Context, format string, args ...any) {
	if l := libraryLog.logger.Load(); l.Enabled(ctx, slog.LevelDebug) {
		l.DebugContext(ctx, "go-redis", "message", fmt.Sprintf(format, args...))
	}
}

func logTo(l *slog.Logger) {
	libraryLog.logger.Store(l)
	libraryLog.once.Do(func() { redis.SetLogger(libraryLogger{}) })
}
