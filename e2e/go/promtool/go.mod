// promtool, which tries the chart's alerts.
module vk-cmd.io/e2e/promtool

go 1.26.0

tool github.com/prometheus/prometheus/cmd/promtool
