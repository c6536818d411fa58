# Stands in for the official image where that cannot be pulled. The build context is the `bin` folder of the npm package that `./xenolith up` runs.
FROM scratch
COPY nats-server nats-server.conf /
EXPOSE 4222 8222 6222
ENTRYPOINT ["/nats-server"]
CMD ["--config", "/nats-server.conf"]
