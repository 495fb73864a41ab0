package testenv

import "testing"

// GDAL is the path of one of GDAL's programs, such as gdalinfo.
func GDAL(t testing.TB, program string) string {
	t.Helper()
	return find(t, "apt-get install gdal-bin", program)
}
