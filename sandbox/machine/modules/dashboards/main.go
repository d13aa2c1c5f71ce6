// Checks Grafana dashboards against Grafana's own types: every field exists and has its type, no
// required field is missing, and the numbers are in their ranges. Draws nothing and asks no
// Grafana.
//
//	dashboards FILE ...  prints what is wrong, a line each; exits 1 if anything is
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// The panels and queries that the dashboards have. Of any other, the library takes whatever JSON
// there is, so check refuses it. cog/plugins has all of them, and takes much longer to compile.
func register() {
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(table.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
}

func main() {
	if len(os.Args) == 1 {
		fmt.Println("name the files of dashboards")
		os.Exit(1)
	}
	register()
	wrong := false
	for _, path := range os.Args[1:] {
		for _, complaint := range check(path) {
			wrong = true
			fmt.Printf("%s: %s\n", path, complaint)
		}
	}
	if wrong {
		os.Exit(1)
	}
}

// A panel as far as the library does not check it.
type panel struct {
	ID          int             `json:"id"`
	Type        string          `json:"type"`
	FieldConfig json.RawMessage `json:"fieldConfig"`
	Targets     []struct {
		Datasource struct {
			Type string `json:"type"`
		} `json:"datasource"`
	} `json:"targets"`
}

// What is wrong with the dashboard in a file.
func check(path string) []string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return []string{err.Error()}
	}
	// Apart from each other: what is read strictly has no panels (version 0.0.22 of the library,
	// whose strict functions report success as an error without parts).
	var strict, model dashboard.Dashboard
	complaints := lines("", strict.UnmarshalJSONStrict(raw))
	var parts struct {
		Panels []panel `json:"panels"`
	}
	if err := errors.Join(json.Unmarshal(raw, &model), json.Unmarshal(raw, &parts)); err != nil {
		return append(complaints, err.Error())
	}
	complaints = append(complaints, lines("", model.Validate())...)
	for _, panel := range parts.Panels {
		place := fmt.Sprintf("panel %d: ", panel.ID)
		if _, known := cog.ConfigForPanelcfgVariant(panel.Type); !known && panel.Type != "row" {
			complaints = append(complaints, place+"unknown type "+panel.Type)
		}
		for _, target := range panel.Targets {
			if target.Datasource.Type != "prometheus" {
				complaints = append(complaints, place+"a query that is not Prometheus'")
			}
		}
		// Of a fieldConfig, the library is strict about `custom` alone.
		if panel.FieldConfig != nil {
			var fields dashboard.FieldConfigSource
			err := fields.UnmarshalJSONStrict(panel.FieldConfig)
			complaints = append(complaints, lines(place+"fieldConfig.", err)...)
		}
	}
	return complaints
}

// The parts of an error, each with its place in front.
func lines(place string, err error) []string {
	if err == nil {
		return nil
	}
	var parts cog.BuildErrors
	if !errors.As(err, &parts) {
		return []string{place + err.Error()}
	}
	var all []string
	for _, part := range parts {
		all = append(all, place+part.Error())
	}
	return all
}
