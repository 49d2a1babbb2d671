//go:build cgo

package main

import (
	"fmt"

	_ "github.com/mattn/go-sqlite3"
)

const driverName = "sqlite3"

func dataSource(path, mode string) string {
	return fmt.Sprintf("file:%s?mode=%s&_busy_timeout=1000", path, mode)
}
