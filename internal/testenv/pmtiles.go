package testenv

import "testing"

// PMTiles is the path of go-pmtiles, the reference for PMTiles archives. Released binaries of it are called pmtiles.
func PMTiles(t testing.TB) string {
	t.Helper()
	return find(t, "make tools", "go-pmtiles", "pmtiles")
}

// SQLite is the path of SQLite's shell, which makes MBTiles.
func SQLite(t testing.TB) string {
	t.Helper()
	return find(t, "apt-get install sqlite3", "sqlite3")
}
