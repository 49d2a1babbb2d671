//go:build !cgo

package main

import (
	"fmt"

	_ "modernc.org/sqlite"
)

const driverName = "sqlite"

func dataSource(path, mode string) string {
	return fmt.Sprintf("file:%s?mode=%s&_pragma=busy_timeout(1000)", path, mode)
}
