package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"tilegate/auth"
	"tilegate/configs"
)

// keyCommand is about API keys. Its commands change nothing but the file that auth.api_keys.file names, which
// every running server reads again.
type keyCommand struct {
	Create keyCreateCommand `cmd:"" help:"Create an API key and print it. It is shown only this once."`
	List   keyListCommand   `cmd:"" help:"List the API keys, without their secrets."`
	Revoke keyRevokeCommand `cmd:"" help:"Revoke an API key; running servers refuse it within a second."`
}

type keyCreateCommand struct {
	configFlag
	Name string `required:"" help:"What the key is for, in your own words."`
	limitFlags
	Origins []string `sep:"," placeholder:"ORIGIN" help:"The origins of the pages that may use it: https://shop.example.com, https://*.example.com."`
	IPs     []string `name:"ips" sep:"," placeholder:"NETWORK" help:"The clients that may use it: 192.0.2.0/24, 192.0.2.7."`
	TTL     lifetime `name:"ttl" default:"365d" help:"How long it is valid: 90d, 12h; 0: without end."`
}

// lifetime is a duration that may be written in days.
type lifetime time.Duration

// UnmarshalText reads 365d, or what time.ParseDuration reads.
func (l *lifetime) UnmarshalText(text []byte) error {
	const longest = 100 * 365
	if number, ok := strings.CutSuffix(string(text), "d"); ok {
		days, err := strconv.ParseUint(number, 10, 32)
		if err != nil || days > longest {
			return fmt.Errorf("%q is not a number of days up to %d", text, longest)
		}
		*l = lifetime(time.Duration(days) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a duration: write 365d, 12h, or 0 for no end", text)
	}
	*l = lifetime(d)
	return nil
}

// Run prints the key, and nothing else, to standard output.
func (cmd keyCreateCommand) Run(_ context.Context, c *console) error {
	config, file, err := cmd.keyFile()
	if err != nil {
		return err
	}
	limits, err := cmd.limits(config)
	if err != nil {
		return usageError{err}
	}
	now := time.Now().Truncate(time.Second)
	k := auth.APIKey{Name: cmd.Name, Limits: limits, Origins: cmd.Origins, Created: now}
	if cmd.TTL > 0 {
		k.Expires = now.Add(time.Duration(cmd.TTL))
	}
	for _, origin := range cmd.Origins {
		if !auth.ValidOrigin(origin) {
			return usageError{fmt.Errorf("--origins %q: write https://shop.example.com or https://*.example.com, in lower case and without a path", origin)}
		}
	}
	if k.IPs, err = networks(cmd.IPs); err != nil {
		return usageError{err}
	}
	text, line, err := auth.NewAPIKey(k)
	if err != nil {
		return usageError{fmt.Errorf("the key cannot be made: it %w", err)}
	}
	if err := appendLine(file, line); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, text)
	return err
}

func networks(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		network, err := auth.ParseNetwork(text)
		if err != nil {
			return nil, fmt.Errorf("--ips %q: write 192.0.2.0/24 or 192.0.2.7", text)
		}
		all = append(all, network)
	}
	return all, nil
}

// keyFile returns the configuration and its file of keys, whose content has been checked.
func (f configFlag) keyFile() (*configs.Config, string, error) {
	config, err := f.load()
	if err != nil {
		return nil, "", err
	}
	if config.Auth.APIKeys.File == "" {
		return nil, "", usageError{errors.New("auth.api_keys.file is not set: name the file of the keys, such as keys.jsonl")}
	}
	return config, config.Auth.APIKeys.File, nil
}

// appendLine adds a line to a file in one write, so that a server which reads it meanwhile, or another
// command, sees all of the line or nothing.
func appendLine(path string, line []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return fmt.Errorf("the file of the API keys: %w", err)
	}
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err == nil && last[0] != '\n' {
			line = append([]byte{'\n'}, line...) // an editor has left the last line open
		}
	}
	_, err = f.Write(line)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("the file of the API keys: %w", err)
	}
	return nil
}

type keyListCommand struct{ configFlag }

// Run prints a table.
func (cmd keyListCommand) Run(_ context.Context, c *console) error {
	config, file, err := cmd.keyFile()
	if err != nil {
		return err
	}
	keys, err := auth.ReadAPIKeys(file, config.AuthOptions().Areas)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tSTATE\tEXPIRES\tGRANTS\tORIGINS\tADDRESSES")
	for _, k := range keys {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, orDash(k.Name), keyState(k), keyEnd(k), grants(k.Limits), orDash(strings.Join(k.Origins, ",")), addresses(k))
	}
	return table.Flush()
}

func keyState(k auth.APIKey) string {
	switch {
	case k.Disabled:
		return "revoked"
	case !k.Expires.IsZero() && !time.Now().Before(k.Expires):
		return "expired"
	}
	return "valid"
}

func keyEnd(k auth.APIKey) string {
	if k.Expires.IsZero() {
		return "never"
	}
	return k.Expires.UTC().Format(time.RFC3339)
}

func grants(l auth.Limits) string {
	text := strings.Join(l.Tilesets, ",")
	if l.Zoom != nil {
		text += fmt.Sprintf(" zoom %d-%d", l.Zoom.Min, l.Zoom.Max)
	}
	if l.BBox != nil {
		text += fmt.Sprintf(" bbox %g,%g,%g,%g", l.BBox.West, l.BBox.South, l.BBox.East, l.BBox.North)
	}
	for i, a := range l.Areas {
		text += []string{" area ", ","}[min(i, 1)] + a.Name
	}
	return text
}

func addresses(k auth.APIKey) string {
	texts := make([]string, len(k.IPs))
	for i, network := range k.IPs {
		texts[i] = network.String()
	}
	return orDash(strings.Join(texts, ","))
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

type keyRevokeCommand struct {
	configFlag
	ID string `arg:"" help:"The id that tilegate key list shows: the part of the key after tg_."`
}

// Run revokes a key. It does nothing if the key is revoked already.
func (cmd keyRevokeCommand) Run(_ context.Context, c *console) error {
	config, file, err := cmd.keyFile()
	if err != nil {
		return err
	}
	keys, err := auth.ReadAPIKeys(file, config.AuthOptions().Areas)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID != cmd.ID {
			continue
		}
		if !k.Disabled {
			if err := appendLine(file, auth.RevocationLine(k.ID)); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(c.out, "revoked %s (%s)\n", k.ID, orDash(k.Name))
		return err
	}
	return usageError{errors.New("there is no key of this id: see tilegate key list")}
}
