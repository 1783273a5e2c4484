-- Lost: all keys of organizations. Requests that come with one are refused.
DROP TABLE api_keys;
