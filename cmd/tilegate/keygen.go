package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

type keygenCommand struct{}

// Run prints 32 random bytes in base64url, a form that auth.signing_keys accepts.
func (keygenCommand) Run(c *console) error {
	key := make([]byte, 32)
	rand.Read(key)
	_, err := fmt.Fprintln(c.out, base64.RawURLEncoding.EncodeToString(key))
	return err
}
