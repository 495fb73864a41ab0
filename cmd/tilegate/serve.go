package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"tilegate/configs"
)

// configFlag names the configuration file, for every command that reads one.
type configFlag struct {
	Config string `short:"c" required:"" env:"TILEGATE_CONFIG" placeholder:"FILE" help:"The configuration file."`
}

// load reads the file and the environment variables it names, and checks further rules.
func (f configFlag) load(rules ...configs.Rule) (*configs.Config, error) {
	c, err := configs.Load(f.Config, os.LookupEnv, rules...)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

type serveCommand struct{ configFlag }

// Run serves until ctx ends.
func (cmd serveCommand) Run(ctx context.Context, c *console) error {
	w := &watched{hangups: hangups(), path: cmd.Config}
	read := func(ctx context.Context) (*configs.Config, error) {
		w.reading()
		return cmd.load(originRule(ctx))
	}
	config, err := read(ctx)
	if err != nil {
		return err
	}
	return withLog(config.Logging, c.err, func(l *serviceLog) error {
		return cmd.serve(ctx, config, l, w, extras{file: cmd.Config, reload: read})
	})
}

func (serveCommand) serve(ctx context.Context, config *configs.Config, log *serviceLog, w *watched, more extras) error {
	s, err := newService(ctx, config, log, more)
	if err != nil {
		return describe(err)
	}
	s.tellNotes()
	l, err := listen(ctx, config.Server)
	if err != nil {
		return err
	}
	l.limitMemory, l.watch = true, w
	s.logger.Info("serving", "address", l.public.Addr().String(), "tls", config.Server.TLS.Enabled(), "tilesets", len(config.Tilesets))
	return s.run(ctx, l)
}

// listeners are where a service answers; admin is nil where there is none.
type listeners struct {
	public, admin net.Listener
	limitMemory   bool
	watch         *watched // nil: the configuration does not change
}

func listen(ctx context.Context, c configs.Server) (l listeners, err error) {
	if l.public, err = listenOn(ctx, c.Listen, "server.listen"); err != nil {
		return l, err
	}
	if c.AdminListen != "" {
		if l.admin, err = listenOn(ctx, c.AdminListen, "server.admin_listen"); err != nil {
			_ = l.public.Close() // nothing was served on it
			return l, err
		}
	}
	return l, nil
}

func listenOn(ctx context.Context, address, key string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s %s is in use: stop what listens there, or choose another port", key, address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s %s may not be opened by this user: choose a port above 1023, or allow it CAP_NET_BIND_SERVICE", key, address)
	default:
		return nil, fmt.Errorf("%s %s cannot be opened: %w", key, address, err)
	}
}
