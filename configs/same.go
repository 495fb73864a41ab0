package configs

import (
	"bytes"
	"reflect"
)

// Same reports whether two values of a configuration, such as two sections of the same kind, say the same. Secrets are the same if
// their bytes are, wherever those come from.
func Same(a, b any) bool { return same(reflect.ValueOf(a), reflect.ValueOf(b)) }

var secretType = reflect.TypeFor[Secret]()

func same(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	if a.Type() == secretType {
		x, y := a.Interface().(Secret), b.Interface().(Secret) //nolint:forcetypeassert // it is one
		return x.IsSet() == y.IsSet() && bytes.Equal(x.Bytes(), y.Bytes())
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, key := range a.MapKeys() {
			if other := b.MapIndex(key); !other.IsValid() || !same(a.MapIndex(key), other) {
				return false
			}
		}
		return true
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	case reflect.Func:
		return a.IsNil() && b.IsNil() // what a function does cannot be compared
	}
	return a.Equal(b)
}
