export * from '../testing.js';
