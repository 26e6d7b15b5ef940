package console

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed static
var static embed.FS

// page serves the bundle. The page's own paths, such as /policies/DOI-7, are the page.
func page() http.Handler {
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // the name is a constant
	}
	serve := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		if !strings.HasPrefix(r.URL.Path, "/static/") {
			http.ServeFileFS(w, r, files, "index.html")
			return
		}
		http.StripPrefix("/static/", serve).ServeHTTP(w, r)
	})
}
