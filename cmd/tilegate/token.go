package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"tilegate/auth"
	"tilegate/configs"
	"tilegate/internal/tile"
)

type tokenCommand struct {
	configFlag
	Subject string `required:"" help:"The user that the token is for. The log shows this name, and revocations use it."`
	limitFlags
	TTL  time.Duration `name:"ttl" default:"1h" help:"How long it is valid."`
	Path bool          `help:"Create a token for the path of URLs, /t/TOKEN/tiles/…"`
}

// limitFlags say what a token or an API key grants.
type limitFlags struct {
	Tilesets []string `required:"" sep:"," placeholder:"ID" help:"Tilesets, globs over them, file:ID for files and bundle:ID for bundles."`
	Zoom     string   `placeholder:"0-14" help:"The zooms that it is limited to."`
	BBox     boxFlag  `name:"bbox" placeholder:"W,S,E,N" help:"The bounding box that it is limited to, in degrees; west > east crosses the antimeridian."`
	Area     []string `sep:"," placeholder:"NAME" help:"The areas of auth.areas that it is limited to."`
}

// boxFlag is the value of --bbox as it was written.
type boxFlag string

var negative = regexp.MustCompile(`^-\.?[0-9]`)

// Decode accepts a value that begins with a negative number. kong would take it for a flag.
func (b *boxFlag) Decode(ctx *kong.DecodeContext) error {
	if next := ctx.Scan.Peek().String(); negative.MatchString(next) {
		ctx.Scan.Pop()
		*b = boxFlag(next)
		return nil
	}
	return ctx.Scan.PopValueInto("box", (*string)(b))
}

// Run prints the token, and nothing else, to standard output.
func (cmd tokenCommand) Run(ctx context.Context, c *console) error {
	config, err := cmd.load()
	if err != nil {
		return err
	}
	if len(config.Auth.SigningKeys) == 0 {
		return usageError{errors.New("auth.signing_keys is empty, so no other process would accept the token: write one with tilegate keygen > tilegate.key, and set signing_keys: [{file: tilegate.key}]")}
	}
	want, err := cmd.limits(config)
	if err != nil {
		return usageError{err}
	}
	a, err := auth.New(authOptions(config, slog.New(slog.DiscardHandler)))
	if err != nil {
		return describe(err)
	}
	token, grant, err := a.NewAccessToken(auth.AccessRequest{Subject: cmd.Subject, Limits: want, TTL: cmd.TTL})
	if err != nil {
		return usageError{fmt.Errorf("the token cannot be made: %w", err)}
	}
	if cmd.Path {
		if token, _, err = a.NewPathToken(grant, auth.PathRequest{TTL: cmd.TTL}); err != nil {
			return usageError{fmt.Errorf("the path token cannot be made: %w", err)}
		}
	}
	_, err = fmt.Fprintln(c.out, token)
	return err
}

func (cmd limitFlags) limits(config *configs.Config) (auth.Limits, error) {
	want := auth.Limits{Tilesets: cmd.Tilesets}
	for _, name := range cmd.Area {
		shape := config.Auth.Areas[name].File.Area
		if shape == nil {
			return want, fmt.Errorf("--area %q is not one of auth.areas", name)
		}
		want.Areas = append(want.Areas, auth.Area{Name: name, Shape: shape})
	}
	if cmd.Zoom != "" {
		zoom, err := tile.ParseZoomRange(cmd.Zoom)
		if err != nil {
			return want, fmt.Errorf("--zoom %q: %w", cmd.Zoom, err)
		}
		want.Zoom = &zoom
	}
	if cmd.BBox != "" {
		var corners [4]float64
		parts := strings.Split(string(cmd.BBox), ",")
		for i, part := range parts {
			var err error
			if len(parts) != len(corners) {
				err = errors.New("not four numbers")
			} else {
				corners[i], err = strconv.ParseFloat(strings.TrimSpace(part), 64)
			}
			if err != nil {
				return want, fmt.Errorf("--bbox %q is not west,south,east,north", cmd.BBox)
			}
		}
		want.BBox = &tile.Box{West: corners[0], South: corners[1], East: corners[2], North: corners[3]}
	}
	if err := want.Validate(); err != nil {
		return want, err
	}
	return want, nil
}
