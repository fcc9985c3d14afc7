package main

import (
	"net/netip"
	"reflect"
	"time"

	"rstwhy/internal/event"
)

// fullTime is any time that is not zero.
var fullTime = time.Date(2026, 11, 24, 1, 2, 3, 4, time.UTC)

// fill sets everything that JSON shows of a record, by reflection, so that a
// field added later is in the test at once.
func fill(v reflect.Value, values map[string][]constant) {
	switch x := v.Addr().Interface().(type) {
	case *event.Number:
		*x = event.Num(7)
		return
	case *netip.Addr:
		*x = netip.MustParseAddr("2001:db8::1")
		return
	case *time.Time:
		*x = fullTime
		return
	case *netip.Prefix:
		*x = netip.MustParsePrefix("2001:db8::/32")
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") != "-" {
				fill(v.Field(i), values)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), values)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), values)
	case reflect.String:
		v.SetString("x")
		if c := values[v.Type().Name()]; len(c) > 0 {
			v.SetString(c[0].value)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(7.5)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	default:
		panic("no way to fill " + v.Type().String())
	}
}
